# `cmake --install` gives the programs, and the client library as a CMake package:
#   find_package(larder REQUIRED)
#   target_link_libraries(engine PRIVATE larder::client)
# The client is a static library, so everything of ours that it links is installed with it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# larder_link_closure(OUT TARGET...): TARGET... and every library of ours that they link. Not
# larder_flags, which must not reach a user: a library that links it publicly fails to be exported.
function(larder_link_closure out)
  set(pending ${ARGN})
  set(closure "")
  while(pending)
    list(POP_FRONT pending name)
    if(name IN_LIST closure)
      continue()
    endif()
    list(APPEND closure ${name})
    get_target_property(links ${name} LINK_LIBRARIES)
    foreach(link IN LISTS links)
      if(link MATCHES "^larder_" AND TARGET ${link} AND NOT link STREQUAL larder_flags)
        list(APPEND pending ${link})
      endif()
    endforeach()
  endwhile()
  set(${out} ${closure} PARENT_SCOPE)
endfunction()

set(LARDER_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/larder)
set(LARDER_HEADER_DIR ${CMAKE_INSTALL_INCLUDEDIR}/larder)

foreach(program larderd larderctl larder-bench larder-sim larder-codec)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

if(TARGET larder_client)
  larder_link_closure(LARDER_PACKAGE_LIBRARIES larder_client)
else()
  larder_link_closure(LARDER_PACKAGE_LIBRARIES larder_common)
endif()
foreach(library IN LISTS LARDER_PACKAGE_LIBRARIES)
  string(REGEX REPLACE "^larder_" "" exported_name ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${exported_name})
  get_target_property(folder ${library} SOURCE_DIR)
  get_target_property(generated_folder ${library} BINARY_DIR)
  list(APPEND LARDER_PACKAGE_FOLDERS ${folder})
  list(APPEND LARDER_PACKAGE_GENERATED_FOLDERS ${generated_folder})
endforeach()
install(TARGETS ${LARDER_PACKAGE_LIBRARIES} EXPORT larderTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${LARDER_HEADER_DIR})

# Headers keep their place in the tree: "client/client.h" is include/larder/client/client.h.
list(REMOVE_DUPLICATES LARDER_PACKAGE_FOLDERS)
list(REMOVE_DUPLICATES LARDER_PACKAGE_GENERATED_FOLDERS)
foreach(folder IN LISTS LARDER_PACKAGE_FOLDERS)
  file(RELATIVE_PATH relative_folder ${CMAKE_SOURCE_DIR} ${folder})
  install(DIRECTORY ${folder}/ DESTINATION ${LARDER_HEADER_DIR}/${relative_folder}
    FILES_MATCHING PATTERN "*.h")
endforeach()
foreach(folder IN LISTS LARDER_PACKAGE_GENERATED_FOLDERS)
  file(RELATIVE_PATH relative_folder ${CMAKE_BINARY_DIR} ${folder})
  install(DIRECTORY ${folder}/ DESTINATION ${LARDER_HEADER_DIR}/${relative_folder}
    FILES_MATCHING PATTERN "*.pb.h" PATTERN "CMakeFiles" EXCLUDE)
endforeach()

install(EXPORT larderTargets NAMESPACE larder:: DESTINATION ${LARDER_PACKAGE_DIR})
if(larder_proto IN_LIST LARDER_PACKAGE_LIBRARIES)
  set(LARDER_PACKAGE_USES_GRPC TRUE)
else()
  set(LARDER_PACKAGE_USES_GRPC FALSE)
endif()
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/larderConfig.cmake.in ${CMAKE_BINARY_DIR}/larderConfig.cmake
  INSTALL_DESTINATION ${LARDER_PACKAGE_DIR} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/larderConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/larderConfig.cmake ${CMAKE_BINARY_DIR}/larderConfigVersion.cmake
  DESTINATION ${LARDER_PACKAGE_DIR})
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
