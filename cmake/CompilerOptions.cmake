# Language, warnings, sanitizers and hardening: for every target of this directory and below.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(CCACHE ccache)
if(CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

# Executables become PIE; libraries PIC, so that a plugin may link them too. With hidden visibility
# PIC costs nothing over PIE.
include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping copies in `"literal" + std::string` (its bug 105651).
  add_compile_options(-Wno-restrict)
endif()
if(THAW_WERROR)
  add_compile_options(-Werror)
endif()

if(THAW_SANITIZE)
  add_compile_options("-fsanitize=${THAW_SANITIZE}" -fno-omit-frame-pointer)
  add_link_options("-fsanitize=${THAW_SANITIZE}")
  # Otherwise undefined behaviour prints a line and the test passes.
  add_compile_options(-fno-sanitize-recover=all)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
else()
  # The same sources give the same bytes, wherever they are checked out.
  add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.")
  # Needs an optimising build. Some compilers predefine it, so it is undefined first.
  set(optimised "$<CONFIG:Release,RelWithDebInfo,MinSizeRel>")
  add_compile_options("$<${optimised}:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
  add_compile_options(-fstack-protector-strong)
  add_link_options(LINKER:-z,relro LINKER:-z,now)
endif()
