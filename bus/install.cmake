# bus/install.cmake: what `cmake --install` puts where, and how other projects find it.
#
#   bin/bus                               the program
#   lib/libipcbus.a (.so with BUILD_SHARED_LIBS=ON)
#   include/ipcbus/bus/*/*.hpp            included as <bus/core/channel.hpp>, <bus/client/node.hpp>
#   lib/cmake/ipcbus/ipcbusConfig.cmake   find_package(ipcbus), target ipcbus::bus
#   lib/pkgconfig/ipcbus.pc               pkg-config ipcbus
#
# The tree may be moved after the installation: every path in it is relative to where it is found.
include(CMakePackageConfigHelpers)

# The soname changes with the minor version until 1.0, because until then the interface may.
set_target_properties(ipcbus PROPERTIES
  EXPORT_NAME bus
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
target_include_directories(ipcbus PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/ipcbus>)

install(TARGETS ipcbus EXPORT ipcbusTargets)

# What a program needs to use channels, and what one needs to bring a transport of its own. Not: os/ and the places
# at which tests kill a process, which no public header includes.
install(FILES
  bus/core/address.hpp bus/core/books.hpp bus/core/channel.hpp bus/core/deadline.hpp bus/core/errc.hpp
  bus/core/listener.hpp bus/core/message.hpp bus/core/poller.hpp bus/core/result.hpp bus/core/traits.hpp
  bus/core/transport.hpp bus/core/units.hpp bus/core/version.hpp bus/core/wait.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ipcbus/bus/core)
# The bus of subjects: nodes, and a broker inside a program.
install(FILES bus/client/node.hpp bus/client/session.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ipcbus/bus/client)
install(FILES bus/protocol/frame.hpp bus/protocol/headers.hpp bus/protocol/subject.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ipcbus/bus/protocol)
install(FILES bus/broker/core.hpp bus/broker/server.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ipcbus/bus/broker)

if(TARGET bus_program)
  if(BUILD_SHARED_LIBS)
    file(RELATIVE_PATH libdir_from_bindir ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(bus_program PROPERTIES INSTALL_RPATH "$ORIGIN/${libdir_from_bindir}")
  endif()
  install(TARGETS bus_program)
endif()

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ipcbus)
configure_package_config_file(bus/ipcbusConfig.cmake.in ${PROJECT_BINARY_DIR}/ipcbusConfig.cmake
  INSTALL_DESTINATION ${cmake_dir} NO_SET_AND_CHECK_MACRO)
# Until 1.0 another minor version is another interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ipcbusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ipcbusConfig.cmake ${PROJECT_BINARY_DIR}/ipcbusConfigVersion.cmake
  DESTINATION ${cmake_dir})
install(EXPORT ipcbusTargets NAMESPACE ipcbus:: DESTINATION ${cmake_dir})

# A static library brings nothing along, so its users link what it needs; a shared one has that already.
set(pc_needs "-lboost_url -lrt -pthread")
if(BUILD_SHARED_LIBS)
  set(pc_libs "-pthread")
  set(pc_libs_private "${pc_needs}")
else()
  set(pc_libs "${pc_needs}")
  set(pc_libs_private "")
endif()
# The public headers include <boost/system/result.hpp>: say where, unless the compiler looks there anyway.
set(pc_cflags "")
foreach(directory IN LISTS Boost_INCLUDE_DIRS)
  if(NOT directory IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    string(APPEND pc_cflags " -I${directory}")
  endif()
endforeach()
file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
configure_file(bus/ipcbus.pc.in ${PROJECT_BINARY_DIR}/ipcbus.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ipcbus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
