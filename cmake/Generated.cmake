# Headers that are made, not written. They lie under generated/ as they would under src/, so that
# code includes "base/version.h" and "format/<schema>_generated.h" like any other header.

set(THAW_GENERATED_DIR "${PROJECT_BINARY_DIR}/generated")

configure_file(cmake/version.h.in "${THAW_GENERATED_DIR}/base/version.h" @ONLY)

file(GLOB schemas CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/format/*.fbs")
set(schema_headers "")
if(schemas)
  find_program(FLATC flatc REQUIRED)
  foreach(schema IN LISTS schemas)
    get_filename_component(name "${schema}" NAME_WE)
    set(header "${THAW_GENERATED_DIR}/format/${name}_generated.h")
    # One schema may include another: each header depends on all of them.
    add_custom_command(
      OUTPUT "${header}"
      COMMAND "${FLATC}" --cpp --scoped-enums -o "${THAW_GENERATED_DIR}/format" "${schema}"
      DEPENDS ${schemas}
      COMMENT "Generating format/${name}_generated.h"
      VERBATIM)
    list(APPEND schema_headers "${header}")
  endforeach()
endif()
add_custom_target(thaw_generated DEPENDS ${schema_headers})
