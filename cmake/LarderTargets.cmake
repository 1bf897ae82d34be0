# Three functions make every target of the project; a file that none of them names is found by a test.

# larder_library(NAME SRCS... DEPS... PRIVATE_DEPS...): a static library; the target larder_x is
# larder::x in the installed package.
function(larder_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE $<BUILD_INTERFACE:larder_flags> ${ARG_PRIVATE_DEPS})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>)
  target_compile_features(${name} PUBLIC cxx_std_20)
endfunction()

# larder_program(NAME SRCS... DEPS...): a program in build/<preset>/bin.
function(larder_program name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} larder_flags)
endfunction()

# What the sanitizer runs build: each test program with the label. A test that starts another
# program names it here too: add_dependencies(fast_tests larderd).
if(LARDER_TESTS)
  add_custom_target(fast_tests)
  add_custom_target(thread_tests)
endif()

# larder_test(NAME SRCS... DEPS... LABELS... TIMEOUT seconds): a GoogleTest program that ctest runs.
# Labels: "fast" tests are also run under AddressSanitizer, "thread" ones under ThreadSanitizer.
function(larder_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main larder_flags)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  foreach(label fast thread)
    if(label IN_LIST ARG_LABELS)
      add_dependencies(${label}_tests ${name})
    endif()
  endforeach()
endfunction()
