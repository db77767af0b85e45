# Finds the libtorch inside the active Python's PyTorch (>= 2.11), else inside .venv, and makes the target torch::torch.
# Only its headers and shared libraries are used, not its own CMake package: that one asks for a CUDA toolkit wherever
# PyTorch was built with CUDA, which a program that calls libtorch alone does not need.
# TORCH_ROOT (the folder with include/ and lib/) overrides the search.
set(TORCH_ROOT "" CACHE PATH "libtorch: the folder that holds include/ and lib/")
set(torch_question [[
import os, site, sysconfig
site.addsitedir(sysconfig.get_path('purelib'))  # which an isolated build of a Python package hides
import torch
assert tuple(int(part) for part in torch.__version__.split('+')[0].split('.')[:2]) >= (2, 11)
print(os.path.dirname(torch.__file__))]])
foreach(python IN ITEMS ${Python_EXECUTABLE} python3 ${CMAKE_CURRENT_LIST_DIR}/../.venv/bin/python)
  if(TORCH_ROOT)
    break()
  endif()
  execute_process(COMMAND ${python} -c "${torch_question}" OUTPUT_VARIABLE torch_folder RESULT_VARIABLE torch_missing
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(torch_missing EQUAL 0)
    set_property(CACHE TORCH_ROOT PROPERTY VALUE ${torch_folder})
  endif()
endforeach()

# Which header holds the numbers has changed between releases.
foreach(header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(EXISTS ${TORCH_ROOT}/include/${header} AND NOT Torch_VERSION)
    file(STRINGS ${TORCH_ROOT}/include/${header} Torch_VERSION REGEX "define TORCH_VERSION_M(AJOR|INOR) ")
    list(TRANSFORM Torch_VERSION REPLACE "[^0-9]" "")
    list(JOIN Torch_VERSION "." Torch_VERSION)
  endif()
endforeach()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  Torch REQUIRED_VARS TORCH_ROOT Torch_VERSION VERSION_VAR Torch_VERSION
  REASON_FAILURE_MESSAGE "no PyTorch >= 2.11 in the active Python or in .venv: run scripts/setup.sh or set TORCH_ROOT")

if(Torch_FOUND AND NOT TARGET torch::torch)
  add_library(torch::torch INTERFACE IMPORTED)
  set_target_properties(torch::torch PROPERTIES
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_INCLUDE_DIRECTORIES "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include")
  foreach(library IN ITEMS torch torch_cpu c10)
    add_library(torch::lib${library} SHARED IMPORTED)
    set_target_properties(torch::lib${library} PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/lib${library}.so)
  endforeach()
  target_link_libraries(torch::torch INTERFACE torch::libtorch torch::libtorch_cpu torch::libc10)
  # at::parallel_for is OpenMP code in a header; it must meet the very runtime that PyTorch carries, or there are two.
  file(GLOB torch_openmp ${TORCH_ROOT}/lib/libgomp*.so* ${TORCH_ROOT}/../torch.libs/libgomp*.so*)
  if(torch_openmp AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(GET torch_openmp 0 torch_openmp)
    target_compile_options(torch::torch INTERFACE -fopenmp)
    add_library(torch::openmp SHARED IMPORTED)
    set_target_properties(torch::openmp PROPERTIES IMPORTED_LOCATION ${torch_openmp})
    target_link_libraries(torch::torch INTERFACE torch::openmp)
  endif()
  # libtorch.so brings the CUDA half in by being loaded; nothing of ours names a symbol in it. What the CUDA half needs
  # in its turn is found by its own run path, at run time.
  target_link_options(torch::torch INTERFACE -Wl,--no-as-needed)
  if(EXISTS ${TORCH_ROOT}/lib/libtorch_cuda.so)
    target_link_options(torch::torch INTERFACE -Wl,--allow-shlib-undefined)
  endif()
endif()
