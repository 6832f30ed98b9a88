# Unit tests: build/<preset>/tests/<folder>_test for each folder that has *_test.cpp files, beside
# conformance_test and fault_test. tests/programs.txt lists them for ./dev test, which therefore
# never runs a program left over from a folder that is gone.

find_package(GTest QUIET)
if(NOT GTest_FOUND)
  message(WARNING "GoogleTest not found: no tests are built")
  return()
endif()

set(THAW_TEST_DIR "${PROJECT_BINARY_DIR}/tests")

# No layers are linked here: each test program brings its own, so that the tests of a low folder
# neither wait for nor break with the folders above it.
file(GLOB support CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/support/*.cpp")
set(support_tests ${support})
list(FILTER support EXCLUDE REGEX "_test\\.cpp$")
list(FILTER support_tests INCLUDE REGEX "_test\\.cpp$")
if(support)
  add_library(thaw_test_support STATIC ${support})
  set(scope PUBLIC)
  add_dependencies(thaw_test_support thaw_generated)
else()
  add_library(thaw_test_support INTERFACE)
  set(scope INTERFACE)
endif()
target_include_directories(thaw_test_support ${scope}
  "${PROJECT_SOURCE_DIR}/test" "${PROJECT_SOURCE_DIR}/src")
target_include_directories(thaw_test_support SYSTEM ${scope} "${THAW_GENERATED_DIR}")
target_link_libraries(thaw_test_support ${scope} GTest::gtest_main GTest::gmock)

set(programs "")
# thaw_add_test(PROGRAM SOURCES… LINK LIBRARIES…)
function(thaw_add_test program)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  add_executable(${program} ${arg_SOURCES})
  target_link_libraries(${program} PRIVATE thaw_test_support ${arg_LINK})
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${THAW_TEST_DIR}")
  set(programs "${programs}${program}\n" PARENT_SCOPE)
endfunction()

foreach(folder IN LISTS THAW_LAYERS)
  thaw_glob_layer(${folder} sources tests)
  if(tests)
    thaw_add_test(${folder}_test SOURCES ${tests} LINK thaw_${folder})
  endif()
endforeach()

if(support_tests)
  thaw_add_test(support_test SOURCES ${support_tests} LINK ${THAW_TOP_LIBRARY})
endif()
foreach(kind conformance fault)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/test/${kind}/*.cpp")
  if(sources)
    thaw_add_test(${kind}_test SOURCES ${sources} LINK ${THAW_TOP_LIBRARY})
  endif()
endforeach()

file(WRITE "${THAW_TEST_DIR}/programs.txt" "${programs}")
