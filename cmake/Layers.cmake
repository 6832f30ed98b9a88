# One static library per folder of src/, thaw_<folder>, in the order of layers.txt. A folder links
# all folders above it, so the linker rejects what tools/check_layers would. Folders that do not
# exist are skipped; CONFIGURE_DEPENDS notices when they appear.

find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)  # Debian's is built with SPDLOG_FMT_EXTERNAL, and its target says so
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(libcurl REQUIRED IMPORTED_TARGET libcurl)
find_package(pugixml REQUIRED)
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(libarchive REQUIRED IMPORTED_TARGET libarchive)
pkg_check_modules(libdeflate REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(liblzma REQUIRED IMPORTED_TARGET liblzma)
pkg_check_modules(yamlcpp REQUIRED IMPORTED_TARGET yaml-cpp)

# What each folder links besides the folders above it. To add a library: find it above, name it
# here at the lowest folder that uses it, and add its package to the build group in ./dev.
# Header-only libraries (CLI11, flatbuffers, nlohmann-json, tl::expected) need no line.
set(THAW_LINKS_base Threads::Threads fmt::fmt spdlog::spdlog OpenSSL::Crypto)
set(THAW_LINKS_format PkgConfig::zstd PkgConfig::xxhash)
# Intel's library of hashes in several lanes exists for x86-64 alone; without it OpenSSL does it.
find_library(IPSEC_MB_LIBRARY IPSec_MB)
if(IPSEC_MB_LIBRARY)
  list(APPEND THAW_LINKS_format ${IPSEC_MB_LIBRARY})
endif()
# Both, whatever the build type: the checksum's speed is part of every read of a tier.
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/format/checksum.cpp"
  "${PROJECT_SOURCE_DIR}/src/format/checksum_avx2.cpp" PROPERTIES COMPILE_OPTIONS -O3)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set_source_files_properties("${PROJECT_SOURCE_DIR}/src/format/checksum_avx2.cpp"
    PROPERTIES COMPILE_OPTIONS "-O3;-mavx2")
endif()
set(THAW_LINKS_object PkgConfig::libcurl pugixml::pugixml)
set(THAW_LINKS_index PkgConfig::sqlite3 PkgConfig::hiredis OpenSSL::SSL)
set(THAW_LINKS_archive PkgConfig::libarchive PkgConfig::libdeflate PkgConfig::zlib
  PkgConfig::liblzma)
set(THAW_LINKS_cache PkgConfig::yamlcpp)
set(THAW_LINKS_app PkgConfig::tomlplusplus)

set(layers_file "${PROJECT_SOURCE_DIR}/cmake/layers.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${layers_file}")
file(STRINGS "${layers_file}" THAW_LAYERS REGEX "^[a-z]")

# Sets OUT to the C++ files of src/FOLDER and its sub-folders, unit tests in OUT_TESTS.
function(thaw_glob_layer folder out out_tests)
  file(GLOB sources CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/src/${folder}/*.cpp"
    "${PROJECT_SOURCE_DIR}/src/${folder}/*/*.cpp")
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(${out} ${sources} PARENT_SCOPE)
  set(${out_tests} ${tests} PARENT_SCOPE)
endfunction()

# Makes the libraries; sets THAW_TOP_LIBRARY to the highest, which brings all others along.
function(thaw_add_layers)
  set(below "")
  foreach(folder IN LISTS THAW_LAYERS)
    thaw_glob_layer(${folder} sources tests)
    # main() would clash with that of the tests, so it is linked into the executable alone.
    list(REMOVE_ITEM sources "${PROJECT_SOURCE_DIR}/src/cli/main.cpp")

    set(library thaw_${folder})
    if(sources)
      add_library(${library} STATIC ${sources})
      set(scope PUBLIC)
    elseif(EXISTS "${PROJECT_SOURCE_DIR}/src/${folder}")
      add_library(${library} INTERFACE)
      set(scope INTERFACE)
    else()
      continue()
    endif()

    target_include_directories(${library} ${scope} "${PROJECT_SOURCE_DIR}/src")
    # SYSTEM: warnings in generated code are nobody's to fix.
    target_include_directories(${library} SYSTEM ${scope} "${THAW_GENERATED_DIR}")
    target_link_libraries(${library} ${scope} ${below} ${THAW_LINKS_${folder}})
    add_dependencies(${library} thaw_generated)
    if(folder STREQUAL "format" AND IPSEC_MB_LIBRARY)
      target_compile_definitions(${library} PRIVATE THAW_HAVE_IPSEC_MB)
    endif()
    if(THAW_FUZZ)
      # Clang builds only what a fuzz target reaches.
      set_target_properties(${library} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
    set(below ${library})  # which links what is below it in turn
  endforeach()
  set(THAW_TOP_LIBRARY ${below} PARENT_SCOPE)
endfunction()
