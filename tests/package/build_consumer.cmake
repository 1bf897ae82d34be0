# cmake -DBUILD_DIR=... -DCONSUMER_DIR=... -DWORK_DIR=... -DGENERATOR=... -DCXX_COMPILER=...
#   -DVERSION=... -P build_consumer.cmake
# See CMakeLists.txt beside it.
function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
run("installing" ${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/prefix)

# A path of the build tree in the package would make it work on this machine only.
file(GLOB_RECURSE package_files ${WORK_DIR}/prefix/*.cmake)
if(NOT package_files)
  message(FATAL_ERROR "no CMake package was installed under ${WORK_DIR}/prefix")
endif()
foreach(package_file IN LISTS package_files)
  file(READ ${package_file} text)
  foreach(leak ${BUILD_DIR} larder_flags -Werror)
    string(FIND "${text}" "${leak}" position)
    if(NOT position EQUAL -1)
      message(FATAL_ERROR "${package_file} mentions ${leak}")
    endif()
  endforeach()
endforeach()

run("configuring the consumer" ${CMAKE_COMMAND} -S ${CONSUMER_DIR} -B ${WORK_DIR}/build
  -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CXX_COMPILER}
  -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix -DLARDER_VERSION=${VERSION})
run("building the consumer" ${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run("running the consumer" ${CMAKE_CTEST_COMMAND} --test-dir ${WORK_DIR}/build --output-on-failure
  --no-tests=error)
