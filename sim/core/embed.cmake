# Writes OUT: a C++ file that defines SYMBOL() over the text of FILES (see moesim_embed in the top CMakeLists.txt).
set(text "#include \"sim/core/embedded.hpp\"\n\nnamespace moesim {\nstd::span<const EmbeddedFile> ${SYMBOL}() {\n  static const EmbeddedFile files[] = {\n")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WLE)
  file(READ ${file} content)
  string(APPEND text "      {\"${name}\", R\"embedded(${content})embedded\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n}  // namespace moesim\n")
file(WRITE ${OUT} "${text}")
