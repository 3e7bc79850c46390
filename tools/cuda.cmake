# The CUDA backend: a module that the program loads when a GPU is asked for, libttt_cuda_fp32.so and
# _fp64.so, compiled by nvcc where there is a toolkit; and always the same sources compiled for the
# emulator in tests/emulator, libttt_emulated_fp32.so and _fp64.so, which tests run on the CPU.
option(CUDA "build the CUDA backend where a toolkit is found" ON)
set(CUDA_OLDEST 12.8)
set(CUDA_HOW "for GPUs install CUDA ${CUDA_OLDEST} or newer (https://developer.nvidia.com/cuda-downloads) \
and put its nvcc on PATH or into CUDACXX")

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS src/backend/*.cu src/ops/*.cu)
set(CUDA_C_SOURCES src/ops/table.c src/base/err.c src/base/mem.c src/backend/bf16_copy.c)

# --- the toolkit: NVCC, and CUDA_LIBRARIES, or one line that says how to get one ---
function(find_cuda)
  if(NOT CUDA OR SANITIZE)
    message(STATUS "CUDA=OFF or sanitizers: no GPU backend, only the emulated one")
    return()
  endif()
  find_program(NVCC nvcc HINTS $ENV{CUDACXX} PATHS /usr/local/cuda/bin)
  if(DEFINED ENV{CUDACXX})
    set(NVCC $ENV{CUDACXX})
  endif()
  if(NOT NVCC)
    message(STATUS "CUDA toolkit not found: no GPU backend; ${CUDA_HOW}")
    return()
  endif()
  execute_process(COMMAND ${NVCC} --version OUTPUT_VARIABLE said ERROR_QUIET RESULT_VARIABLE failed)
  if(failed OR NOT said MATCHES "release ([0-9]+\\.[0-9]+)")
    message(STATUS "${NVCC} does not run: no GPU backend; ${CUDA_HOW}")
    return()
  endif()
  set(version ${CMAKE_MATCH_1})
  if(version VERSION_LESS CUDA_OLDEST)
    message(STATUS "CUDA toolkit ${version} (${NVCC}) is too old: no GPU backend; ${CUDA_HOW}")
    return()
  endif()
  get_filename_component(real_nvcc ${NVCC} REALPATH)
  get_filename_component(root ${real_nvcc} DIRECTORY)
  get_filename_component(root ${root} DIRECTORY)
  set(places ${root} ${root}/targets/x86_64-linux ${root}/targets/sbsa-linux)
  find_library(CUDART cudart_static HINTS ${places} PATH_SUFFIXES lib64 lib)
  find_library(CUBLASLT cublasLt HINTS ${places} PATH_SUFFIXES lib64 lib)
  if(NOT CUDART OR NOT CUBLASLT)
    message(STATUS "CUDA toolkit ${version} lacks libcudart_static or libcublasLt: no GPU backend; \
install its cuda-cudart-dev and libcublas-dev packages")
    return()
  endif()
  message(STATUS "CUDA toolkit ${version} (${NVCC})")
  set(NVCC ${NVCC} PARENT_SCOPE)
  set(CUDA_FOUND ON PARENT_SCOPE)
endfunction()
find_cuda()

# What nvcc gets for a precision: the exactness build runs on what the tests have, the product on
# A100 and H100, and by PTX on what came after.
set(NVCC_FLAGS -O3 -std=c++17 -lineinfo -DISA=cuda -I${CMAKE_SOURCE_DIR}/src
    --compiler-options -fPIC,-fvisibility=hidden,-Wall,-Wextra)
if(WERROR)
  list(APPEND NVCC_FLAGS -Werror all-warnings --compiler-options -Werror)
endif()
set(NVCC_FLAGS_fp32 -t 2 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90
    -gencode arch=compute_90,code=compute_90)
set(NVCC_FLAGS_fp64 -t 2 -DTTT_FP64 -gencode arch=compute_80,code=sm_80
    -gencode arch=compute_90,code=sm_90)

# One object of each source into OBJECTS.
function(nvcc_objects precision OBJECTS)
  set(objects "")
  foreach(source ${CUDA_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/cuda_${precision}/${name}.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d
      COMMAND ${NVCC} ${NVCC_FLAGS} ${NVCC_FLAGS_${precision}} -MD -MT ${object} -MF ${object}.d
              -c ${source} -o ${object}
      COMMENT "nvcc ${name}.cu (${precision})")
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda_${precision})
  set(${OBJECTS} ${objects} PARENT_SCOPE)
endfunction()

# --- the emulator ---
# What no GPU allows and the compiler can see is checked: misaligned vectors, indices of arrays.
set(EMULATED_CHECKS -fsanitize=alignment,bounds-strict,shift,integer-divide-by-zero
    -fno-sanitize-recover=all)
# To find data races (tests/emulator/race.h) the compiler tells of each access of memory. -O1, and no
# access moved to where the source has none. Ubuntu's compiler would call __memset_chk for memset.
set(EMULATED_RACES -fsanitize=thread -DEMULATOR_INLINES -O1 -g1 -fno-tree-loop-im -fno-builtin-memcpy
    -fno-builtin-memmove -fno-builtin-memset -U_FORTIFY_SOURCE)
set(EMULATED_RACES_LINK -Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset)
set(EMULATED_WARNINGS -Wall -Wshadow -Wno-unknown-pragmas)
if(WERROR)
  list(APPEND EMULATED_WARNINGS -Werror)
endif()
file(GLOB EMULATOR_SOURCES CONFIGURE_DEPENDS tests/emulator/*.cpp)
file(GLOB EMULATOR_TESTS CONFIGURE_DEPENDS tests/emulator/test_*.cu)
add_library(emulator OBJECT ${EMULATOR_SOURCES})
target_include_directories(emulator PUBLIC tests/emulator/include tests/emulator)
target_compile_options(emulator PRIVATE ${EMULATED_WARNINGS})
set_target_properties(emulator PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
set_source_files_properties(${CUDA_SOURCES} ${EMULATOR_TESTS} PROPERTIES LANGUAGE CXX)

# Compiles .cu files of TARGET as the emulator's C++, with EMULATED_CHECKS or EMULATED_RACES.
function(emulate target checks)
  target_include_directories(${target} BEFORE PRIVATE tests/emulator/include)
  target_include_directories(${target} PRIVATE tests/emulator src)
  target_compile_definitions(${target} PRIVATE ISA=cuda)
  target_compile_options(${target} PRIVATE ${EMULATED_WARNINGS} ${${checks}})
  if("${checks}" STREQUAL "EMULATED_RACES")
    target_link_options(${target} PRIVATE ${EMULATED_RACES_LINK})
  else()
    target_link_options(${target} PRIVATE ${${checks}})
  endif()
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden LINKER_LANGUAGE CXX)
endfunction()

# --- the modules: one name of theirs is seen, so that nothing of cudart or C++ meets the program's ---
set(MODULE_NAMES ${CMAKE_BINARY_DIR}/cuda_module.map)
file(WRITE ${MODULE_NAMES} "{ global: ttt_cuda_machine; local: *; };\n")
foreach(precision fp32 fp64)
  # What of the program's C a module needs; its names stay inside, beside the program's own.
  add_library(cuda_c_${precision} OBJECT ${CUDA_C_SOURCES})
  target_include_directories(cuda_c_${precision} PRIVATE src)
  target_compile_definitions(cuda_c_${precision} PRIVATE ISA=cuda)
  target_compile_options(cuda_c_${precision} PRIVATE -fno-sanitize=all)
  set_target_properties(cuda_c_${precision} PROPERTIES POSITION_INDEPENDENT_CODE ON
                        C_VISIBILITY_PRESET hidden)
  add_library(ttt_emulated_${precision} MODULE ${CUDA_SOURCES} $<TARGET_OBJECTS:emulator>
              $<TARGET_OBJECTS:cuda_c_${precision}>)
  emulate(ttt_emulated_${precision} EMULATED_CHECKS)
  # Built when it is asked for: target races.
  add_library(ttt_emulated_races_${precision} MODULE EXCLUDE_FROM_ALL ${CUDA_SOURCES}
              $<TARGET_OBJECTS:emulator> $<TARGET_OBJECTS:cuda_c_${precision}>)
  emulate(ttt_emulated_races_${precision} EMULATED_RACES)
  set(MODULES ttt_emulated_${precision} ttt_emulated_races_${precision})
  if(CUDA_FOUND)
    nvcc_objects(${precision} objects)
    add_library(ttt_cuda_${precision} MODULE ${objects} $<TARGET_OBJECTS:cuda_c_${precision}>)
    set_target_properties(ttt_cuda_${precision} PROPERTIES LINKER_LANGUAGE CXX)
    target_link_libraries(ttt_cuda_${precision} PRIVATE ${CUDART} ${CUBLASLT} Threads::Threads
                          ${CMAKE_DL_LIBS} rt)
    list(APPEND MODULES ttt_cuda_${precision})
  endif()
  foreach(module ${MODULES})
    target_link_options(${module} PRIVATE -Wl,--no-undefined -Wl,--version-script=${MODULE_NAMES})
    set_target_properties(${module} PROPERTIES LINK_DEPENDS ${MODULE_NAMES})
  endforeach()
  if(precision STREQUAL fp64)
    target_compile_definitions(cuda_c_fp64 PRIVATE TTT_FP64)
    target_compile_definitions(ttt_emulated_fp64 PRIVATE TTT_FP64)
    target_compile_definitions(ttt_emulated_races_fp64 PRIVATE TTT_FP64)
  endif()
endforeach()
add_custom_target(races DEPENDS ttt_emulated_races_fp32 ttt_emulated_races_fp64)
