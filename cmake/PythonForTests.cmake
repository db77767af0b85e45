# Switches STREAMLINE_PYTHON on for a build with tests where the .venv of the reference libraries has nanobind and
# Debian's headers of Python are there. Not under sanitizers: the interpreter has none.
if(STREAMLINE_TESTS AND STREAMLINE_TORCH AND NOT STREAMLINE_PYTHON AND NOT STREAMLINE_SANITIZE)
  set(venv_python ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  execute_process(COMMAND ${venv_python} -m nanobind --cmake_dir OUTPUT_VARIABLE nanobind_DIR RESULT_VARIABLE no_nanobind
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(no_nanobind EQUAL 0)
    set(Python_EXECUTABLE ${venv_python})
    find_package(Python 3.10 QUIET COMPONENTS Interpreter Development.Module)
    set(STREAMLINE_PYTHON ${Python_Development.Module_FOUND})
  endif()
endif()
