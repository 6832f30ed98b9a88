# Micro-benchmarks: build/<preset>/bench/<name>_bench for each bench/<name>_bench.cpp. Only the
# target `benches` builds them.

file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*_bench.cpp")
find_package(benchmark QUIET)
if(NOT sources OR NOT benchmark_FOUND)
  return()
endif()

add_custom_target(benches)
foreach(source IN LISTS sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL "${source}")
  target_link_libraries(${name} PRIVATE ${THAW_TOP_LIBRARY} benchmark::benchmark_main)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
  add_dependencies(benches ${name})
endforeach()
