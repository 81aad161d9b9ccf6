# Puts the report's page together and writes it as a C++ source: cmake -DTEMPLATE= -DCSS= -DSCRIPTS= -DCHARTS= -DOUTPUT= -P
#
# Scripts and styles are named in the page's Content-Security-Policy by their SHA-256, so that nothing else can run in it,
# whatever the texts in a result are. @RESULTS@ stays: the program puts the results there.
cmake_policy(VERSION 3.25)

# The SHA-256 of a text in base64, which CMake does not have.
function(base64_sha256 text result)
  string(SHA256 hex "${text}")
  set(alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  set(encoded "")
  string(APPEND hex "00")  # 33 bytes: 11 groups of three, the last character of which becomes "="
  foreach(group RANGE 10)
    math(EXPR at "${group} * 6")
    string(SUBSTRING "${hex}" ${at} 6 digits)
    foreach(shift 18 12 6 0)
      math(EXPR index "(0x${digits} >> ${shift}) & 63")
      string(SUBSTRING "${alphabet}" ${index} 1 character)
      string(APPEND encoded "${character}")
    endforeach()
  endforeach()
  string(SUBSTRING "${encoded}" 0 43 encoded)
  set(${result} "${encoded}=" PARENT_SCOPE)
endfunction()

file(READ "${CHARTS}/LICENSE" licence)
file(READ "${CHARTS}/dist/uPlot.iife.min.js" charts_js)
file(READ "${CHARTS}/dist/uPlot.min.css" charts_css)
file(READ "${CSS}" report_css)
file(READ "${TEMPLATE}" page)
string(PREPEND charts_js "/*! uPlot\n${licence}*/\n")
set(report_js "(() => {\n\"use strict\";\n")
foreach(script IN LISTS SCRIPTS)
  file(READ "${script}" text)
  string(APPEND report_js "${text}\n")
endforeach()
string(APPEND report_js "})();\n")

foreach(text IN ITEMS charts_js report_js charts_css report_css)
  string(TOLOWER "${${text}}" lower)
  if(lower MATCHES "</(script|style)|<!--")
    message(FATAL_ERROR "The report cannot be put together: ${text} has \"${CMAKE_MATCH_0}\", which would end its element")
  endif()
  if(lower STREQUAL "")
    message(FATAL_ERROR "The report cannot be put together: ${text} is empty")
  endif()
  base64_sha256("${${text}}" ${text}_hash)
endforeach()

string(REPLACE "@SCRIPT_HASHES@" "'sha256-${charts_js_hash}' 'sha256-${report_js_hash}'" page "${page}")
string(REPLACE "@STYLE_HASHES@" "'sha256-${charts_css_hash}' 'sha256-${report_css_hash}'" page "${page}")
foreach(part IN ITEMS charts_css report_css charts_js report_js)
  string(TOUPPER "@${part}@" place)
  string(REPLACE "${place}" "${${part}}" page "${page}")
endforeach()
string(REGEX MATCHALL "@RESULTS@" places "${page}")
list(LENGTH places times)
if(NOT times EQUAL 1)
  message(FATAL_ERROR "The report cannot be put together: it has @RESULTS@ ${times} times, and not once")
endif()

# As bytes: a string literal of this length is more than the standard promises.
get_filename_component(directory "${OUTPUT}" DIRECTORY)
file(WRITE "${directory}/template.html" "${page}")
file(READ "${directory}/template.html" bytes HEX)
string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE "${OUTPUT}" "// Made by tools/measure/report/assemble.cmake: the page of the HTML report.
#include \"tools/measure/report/template.hpp\"

namespace bus::tools::measure {

namespace {
constexpr unsigned char kPage[] = {
${bytes}};
}  // namespace

std::string_view report_template() noexcept { return {reinterpret_cast<const char*>(kPage), sizeof kPage}; }

}  // namespace bus::tools::measure
")
