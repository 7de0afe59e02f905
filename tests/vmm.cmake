foreach(t bus steps exits reclaim)
	sv_test(${t} unit/test_${t}.c LIBS sv_vmm LABELS unit)
	target_include_directories(test_${t} PRIVATE ${CMAKE_SOURCE_DIR}/core-vmm)
endforeach()
sv_test(advise unit/test_advise.c LIBS sv_bench LABELS unit)
target_include_directories(test_advise PRIVATE ${CMAKE_SOURCE_DIR}/bench)
sv_test(vu_mask unit/test_vu_mask.c LIBS sv_bench LABELS unit)
target_include_directories(test_vu_mask PRIVATE ${CMAKE_SOURCE_DIR}/bench ${CMAKE_SOURCE_DIR}/io) # vhost_msg.h: the wire
