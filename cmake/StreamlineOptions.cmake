# Compiler settings that every target of ours shares.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(streamline_options INTERFACE)
# -fPIC by hand: CMake would give programs -fPIE instead, and a precompiled header serves only one of the two.
target_compile_options(streamline_options INTERFACE -Wall -Wextra -Werror -fPIC)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping and endless copies in "text" + std::string (its bugs 105651, 105329).
  target_compile_options(streamline_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()
if(STREAMLINE_SANITIZE)
  target_compile_options(streamline_options INTERFACE -fsanitize=${STREAMLINE_SANITIZE} -fno-omit-frame-pointer
                                                      -fno-sanitize-recover=all)
  target_link_options(streamline_options INTERFACE -fsanitize=${STREAMLINE_SANITIZE})
endif()

# A file with libtorch's headers takes 1.5 GB to compile, several as one up to 3 GB; targets that have such files take
# turns in this pool.
cmake_host_system_information(RESULT memory QUERY TOTAL_PHYSICAL_MEMORY)  # MiB
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
math(EXPR jobs "${memory} / 3000")
if(jobs GREATER cores)
  set(jobs ${cores})
elseif(jobs LESS 1)
  set(jobs 1)
endif()
set_property(GLOBAL PROPERTY JOB_POOLS torch=${jobs})

# Fills the variable `list` with the .cpp files under the folders, and with an empty file when there are none yet.
function(streamline_sources list)
  set(found "")
  foreach(folder IN LISTS ARGN)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
    list(APPEND found ${sources})
  endforeach()
  if(NOT found)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.cpp "__attribute__((weak)) int main() {}\n")
    set(found ${CMAKE_CURRENT_BINARY_DIR}/empty.cpp)
  endif()
  set(${list} ${found} PARENT_SCOPE)
endfunction()
