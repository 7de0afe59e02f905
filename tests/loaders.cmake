# Loaders, firmware tables, CPUID.
add_library(test_machine_by_hand STATIC unit/machine_by_hand.c)
target_include_directories(test_machine_by_hand PUBLIC unit ${PROJECT_SOURCE_DIR}/core-vmm)
target_link_libraries(test_machine_by_hand PUBLIC sv_vmm PkgConfig::CRITERION)
sv_hosted(test_machine_by_hand)

sv_test(acpi unit/test_acpi.c unit/acpi_find.c LIBS test_machine_by_hand LABELS unit)
sv_test(acpi_iasl unit/test_acpi_iasl.c unit/acpi_find.c LIBS test_machine_by_hand LABELS unit)
sv_test(mptable unit/test_mptable.c LIBS test_machine_by_hand LABELS unit)
sv_test(smbios unit/test_smbios.c LIBS test_machine_by_hand LABELS unit)
sv_test(entry_kvm unit/test_entry_kvm.c unit/elf_file.c LIBS test_machine_by_hand LABELS unit)
sv_test(cpuid unit/test_cpuid.c LIBS test_machine_by_hand LABELS unit)
sv_test(cpuid_kvm unit/test_cpuid_kvm.c LIBS test_machine_by_hand LABELS unit)
sv_test(loader_elf unit/test_loader_elf.c unit/elf_file.c LIBS test_machine_by_hand LABELS unit)
sv_test(loader_linux unit/test_loader_linux.c LIBS test_machine_by_hand LABELS unit)
sv_test(loader_multiboot unit/test_loader_multiboot.c unit/elf_file.c LIBS test_machine_by_hand LABELS unit)
sv_test(initrd unit/test_initrd.c LIBS test_machine_by_hand PkgConfig::ZLIB LABELS unit)
sv_test(initrd_tools unit/test_initrd_tools.c LIBS test_machine_by_hand LABELS unit)
sv_test(loader_real unit/test_loader_real.c LIBS test_machine_by_hand LABELS unit)
sv_test(loader_mutants fuzz/test_loader_mutants.c fuzz/loader_once.c unit/elf_file.c
	LIBS test_machine_by_hand LABELS fuzz)

# libFuzzer (clang): cmake -DSV_FUZZ=ON -DCMAKE_C_COMPILER=clang …, then tests/fuzz_loader CORPUS
option(SV_FUZZ "Build the fuzzers (needs clang, or afl-clang-fast)" OFF)
if(SV_FUZZ)
	include(${PROJECT_SOURCE_DIR}/core-vmm/loaders.cmake)
	list(TRANSFORM SV_VMM_LOADERS PREPEND ${PROJECT_SOURCE_DIR}/core-vmm/)
	add_executable(fuzz_loader fuzz/fuzz_loader.c fuzz/loader_once.c ${SV_VMM_LOADERS})
	target_compile_options(fuzz_loader PRIVATE -fsanitize=fuzzer,address,undefined
		-fno-sanitize-recover=all -iquote ${PROJECT_SOURCE_DIR}/core-vmm)
	target_link_options(fuzz_loader PRIVATE -fsanitize=fuzzer,address,undefined)
	target_link_libraries(fuzz_loader PRIVATE sv_vmm PkgConfig::ZLIB)
endif()
