# The codecs as a project of their own, for machines with a GPU and nothing of ours installed.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
enable_testing()

add_library(larder_codec STATIC ${LARDER_CODEC_SOURCES})
target_include_directories(larder_codec PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/..)
target_compile_options(larder_codec PUBLIC ${LARDER_CODEC_FLAGS}
  PRIVATE -Wall -Wextra -Wshadow -Werror)

add_executable(codec_bench ${LARDER_CODEC_BENCH_SOURCES})
add_executable(codec_selftest ${LARDER_CODEC_SELFTEST_SOURCES})
add_executable(rans_bench bench/rans_bench.cc)
add_executable(token_range_bench bench/bench_planes.cc bench/token_range_bench.cc)
foreach(program codec_bench codec_selftest rans_bench token_range_bench)
  target_link_libraries(${program} PRIVATE larder_codec)
  target_compile_options(${program} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Werror>)
endforeach()
add_test(NAME codec_selftest COMMAND codec_selftest)

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "CUDA kernels: left out, no nvcc")
  return()
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # for nvcc newer than this CMake
endif()
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} --fmad=false --expt-relaxed-constexpr -Werror all-warnings")

add_library(larder_codec_cuda STATIC ${LARDER_CODEC_CUDA_SOURCES})
target_link_libraries(larder_codec_cuda PUBLIC larder_codec)
target_sources(codec_bench PRIVATE ${LARDER_CODEC_BENCH_CUDA_SOURCES})
target_sources(codec_selftest PRIVATE ${LARDER_CODEC_SELFTEST_CUDA_SOURCES})
foreach(program codec_bench codec_selftest)
  target_link_libraries(${program} PRIVATE larder_codec_cuda)
  target_compile_definitions(${program} PRIVATE LARDER_CODEC_CUDA=1)
endforeach()

# Compiles each kernel again for a look at what the assembler says about it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
foreach(source ${LARDER_CODEC_CUDA_SOURCES})
  add_test(NAME spills_${source}
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/check_spills.py
            ${CMAKE_CUDA_COMPILER} ${CMAKE_CURRENT_SOURCE_DIR}/${source} ${CMAKE_CUDA_ARCHITECTURES})
endforeach()
