# Unity builds (CMAKE_UNITY_BUILD, on in the presets): a few files of one folder are compiled as one, which takes half
# the time. Names in unnamed namespaces must then differ within a folder; the compiler says so. Methods, replacements and
# commands, which name their parts alike, have a namespace each; SKIP_UNITY_BUILD_INCLUSION leaves a file out.

# Deals the target's sources out to groups of at most `size` files, none across folders.
function(streamline_unity_groups target size)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "[.]cpp$")
  foreach(source IN LISTS sources)
    get_filename_component(folder ${source} DIRECTORY)
    file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${folder}/)
    string(MAKE_C_IDENTIFIER "${folder}" folder)
    get_property(skipped SOURCE ${source} PROPERTY SKIP_UNITY_BUILD_INCLUSION)
    if(NOT skipped)
      math(EXPR group "0${count_${folder}} / ${size}")  # an unset count is 0
      math(EXPR count_${folder} "0${count_${folder}} + 1")
      set_source_files_properties(${source} TARGET_DIRECTORY ${target} PROPERTIES UNITY_GROUP ${folder}_${group})
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
endfunction()
