# Virtqueues, the vhost-user back end and its devices. The front end and the driver are the tests' own.
add_library(test_vq_driver STATIC unit/vq_driver.c)
target_include_directories(test_vq_driver PUBLIC unit ${CMAKE_SOURCE_DIR}/io)
target_link_libraries(test_vq_driver PUBLIC sv_io PkgConfig::CRITERION)
sv_hosted(test_vq_driver)

sv_test(virtq unit/test_virtq.c LIBS test_vq_driver LABELS unit)

if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/unit/front_end.c)
	add_library(test_front_end STATIC unit/front_end.c)
	target_link_libraries(test_front_end PUBLIC test_vq_driver sv_sidecore)
	sv_hosted(test_front_end)
	foreach(t vhost blk console)
		if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_${t}.c)
			sv_test(${t} unit/test_${t}.c LIBS test_front_end LABELS unit)
		endif()
	endforeach()
endif()
