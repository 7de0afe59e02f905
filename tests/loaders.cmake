# Loaders, firmware tables, CPUID.
add_library(test_machine_by_hand STATIC unit/machine_by_hand.c)
target_include_directories(test_machine_by_hand PUBLIC unit ${PROJECT_SOURCE_DIR}/core-vmm)
target_link_libraries(test_machine_by_hand PUBLIC sv_vmm PkgConfig::CRITERION)
sv_hosted(test_machine_by_hand)

sv_test(acpi unit/test_acpi.c unit/acpi_find.c LIBS test_machine_by_hand)
sv_test(acpi_iasl unit/test_acpi_iasl.c unit/acpi_find.c LIBS test_machine_by_hand)
sv_test(mptable unit/test_mptable.c LIBS test_machine_by_hand)
sv_test(cpuid unit/test_cpuid.c LIBS test_machine_by_hand)
sv_test(cpuid_kvm unit/test_cpuid_kvm.c LIBS test_machine_by_hand)
sv_test(loader_elf unit/test_loader_elf.c unit/elf_file.c LIBS test_machine_by_hand)
sv_test(loader_linux unit/test_loader_linux.c LIBS test_machine_by_hand)
sv_test(loader_multiboot unit/test_loader_multiboot.c unit/elf_file.c LIBS test_machine_by_hand)
