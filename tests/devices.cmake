# Devices of the VM process, all without KVM: a rig of tests/unit/rig.h takes note of what would be
# asked of it.
add_library(test_rig STATIC unit/rig.c unit/virtio_driver.c unit/back_end_by_hand.c)
target_include_directories(test_rig PUBLIC ${CMAKE_SOURCE_DIR}/core-vmm unit)
target_link_libraries(test_rig PUBLIC sv_vmm PkgConfig::CRITERION)
sv_hosted(test_rig)

foreach(t devices disk ioapic irq_kvm output pci platform vhost_foreign virtio_pci virtio_return)
	sv_test(${t} unit/test_${t}.c LIBS test_rig LABELS unit)
endforeach()
sv_test(device_accesses fuzz/test_device_accesses.c LIBS test_rig LABELS fuzz)

add_executable(test_device_threads stress/test_device_threads.c unit/rig.c unit/back_end_by_hand.c)
target_include_directories(test_device_threads BEFORE PRIVATE stress/plain
	${CMAKE_SOURCE_DIR}/core-vmm unit)
target_link_libraries(test_device_threads PRIVATE sv_vmm Threads::Threads)
sv_hosted(test_device_threads)
add_test(NAME device_threads COMMAND test_device_threads)
set_tests_properties(device_threads PROPERTIES TIMEOUT 300 LABELS stress)
