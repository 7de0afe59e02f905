foreach(t bus steps exits reclaim)
	sv_test(${t} unit/test_${t}.c LIBS sv_vmm LABELS unit)
	target_include_directories(test_${t} PRIVATE ${CMAKE_SOURCE_DIR}/core-vmm)
endforeach()
