# Compiler, linker and warnings: one place for flags that every target shares.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# mold links the gRPC programs several times faster than bfd; any linker will do.
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM AND NOT LARDER_SANITIZE)
  add_link_options(-fuse-ld=mold)
endif()

# -g1 keeps line numbers for stack traces at a fraction of the size and of the link time.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")

add_library(larder_flags INTERFACE)
target_compile_options(larder_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  -Woverloaded-virtual -Wcast-align -Werror)
target_include_directories(larder_flags INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>)

if(LARDER_SANITIZE)
  # -O1 saves a fifth of the compiling. What sanitizers add misleads that one warning.
  add_compile_options(-O1 -fsanitize=${LARDER_SANITIZE} -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${LARDER_SANITIZE})
  if(LARDER_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()
