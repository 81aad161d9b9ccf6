# The HTML report's page, put together at build time and carried by the program. See README.md.
#
#   bus_add_report(TARGET)  adds the source that defines report_template() to TARGET
#
# uPlot comes from npm in the configure step, once for each state of the lock file, into the build folder. Without npm, or
# without a network, the report is left out and everything else is built.
option(BUS_REPORT "Build the HTML report into the bus program (needs npm, and once its registry or its cache)" ON)

set(BUS_REPORT_SOURCE ${CMAKE_CURRENT_LIST_DIR})

# Fetches what package-lock.json names into DIRECTORY, or sets WHY_NOT to the reason why not.
function(bus_fetch_report_packages directory why_not)
  set(${why_not} "" PARENT_SCOPE)
  if(NOT BUS_REPORT)
    set(${why_not} "BUS_REPORT is off" PARENT_SCOPE)
    return()
  endif()
  find_program(BUS_NPM npm)
  mark_as_advanced(BUS_NPM)
  if(NOT BUS_NPM)
    set(${why_not} "there is no npm (Debian: apt-get install npm)" PARENT_SCOPE)
    return()
  endif()

  set(key "")
  foreach(file package.json package-lock.json .npmrc)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${BUS_REPORT_SOURCE}/${file})
    file(SHA256 ${BUS_REPORT_SOURCE}/${file} hash)
    string(APPEND key "${file} ${hash}\n")
  endforeach()
  set(stamp ${directory}/fetched.txt)
  if(EXISTS ${stamp} AND EXISTS ${directory}/node_modules/uplot/dist/uPlot.iife.min.js)
    file(READ ${stamp} fetched)
    if(fetched STREQUAL key)
      return()
    endif()
  endif()

  file(REMOVE ${stamp})
  foreach(file package.json package-lock.json .npmrc)
    configure_file(${BUS_REPORT_SOURCE}/${file} ${directory}/${file} COPYONLY)
  endforeach()
  message(STATUS "Fetching the report's charts with npm")
  # Without a network this ends after seconds, not minutes. What npm's cache holds is not asked for again.
  execute_process(
    COMMAND ${BUS_NPM} ci --ignore-scripts --no-audit --no-fund --prefer-offline
      --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=20000
    WORKING_DIRECTORY ${directory} TIMEOUT 120
    RESULT_VARIABLE result OUTPUT_FILE ${directory}/npm.log ERROR_FILE ${directory}/npm.log)
  if(NOT result EQUAL 0)
    set(${why_not} "npm ci failed (${result}), its words are in ${directory}/npm.log; configure again to retry" PARENT_SCOPE)
    return()
  endif()
  if(NOT EXISTS ${directory}/node_modules/uplot/dist/uPlot.iife.min.js)
    set(${why_not} "the package uplot has no dist/uPlot.iife.min.js" PARENT_SCOPE)
    return()
  endif()
  file(WRITE ${stamp} "${key}")
endfunction()

function(bus_add_report target)
  set(directory ${CMAKE_CURRENT_BINARY_DIR}/report)
  bus_fetch_report_packages(${directory} why_not)
  if(why_not)
    message(STATUS "The HTML report is left out: ${why_not}")
    target_sources(${target} PRIVATE ${BUS_REPORT_SOURCE}/no_template.cpp)
    return()
  endif()

  # In the order in which the page has them: what a file uses at once stands before it.
  set(scripts units dom data theme axes marks chart stage figures timeline forest summary origin page)
  list(TRANSFORM scripts REPLACE "(.+)" "${BUS_REPORT_SOURCE}/src/\\1.js")
  set(charts ${directory}/node_modules/uplot)
  set(output ${directory}/template.cpp)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} "-DTEMPLATE=${BUS_REPORT_SOURCE}/src/template.html" "-DCSS=${BUS_REPORT_SOURCE}/src/report.css"
      "-DSCRIPTS=${scripts}" "-DCHARTS=${charts}" "-DOUTPUT=${output}" -P ${BUS_REPORT_SOURCE}/assemble.cmake
    DEPENDS ${scripts} ${BUS_REPORT_SOURCE}/src/template.html ${BUS_REPORT_SOURCE}/src/report.css
      ${BUS_REPORT_SOURCE}/assemble.cmake ${directory}/fetched.txt
    COMMENT "Putting the HTML report together"
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
