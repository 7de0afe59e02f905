# The fuzz targets of io/: virtqueues, vhost-user messages, packets. The default set runs the kept inputs
# and changes of them; tests/fuzz/long.sh builds them for libFuzzer or AFL++ and runs them for hours.
set(fuzz_io ${PROJECT_SOURCE_DIR}/io)
set(fuzz_virtq_parts virtq.c virtq_packed.c virtq_split.c virtq_order.c virtq_log.c virtq_resident.c
	inflight.c inflight_packed.c)
set(fuzz_packets_parts frame.c net_filter.c net_filter_pcap.c net_filter_simple.c offload.c switch.c
	switch_forward.c switch_learn.c switch_registry.c)
# Over a made-up kernel.
set(fuzz_vhost_parts vhost.c vhost_inflight.c vhost_log.c vhost_mem.c vhost_request.c vhost_request_queue.c)

# fuzz_compile(TARGET WHAT): the sources of one fuzz target, compiled anew, and what they need.
function(fuzz_compile target what)
	set(parts ${fuzz_${what}_parts})
	list(TRANSFORM parts PREPEND ${fuzz_io}/)
	target_sources(${target} PRIVATE fuzz/${what}_once.c ${parts})
	if(what STREQUAL vhost)
		set(made_up -DMADE_UP -include ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/made_up_kernel.h)
		set_source_files_properties(${parts} TARGET_DIRECTORY ${target} PROPERTIES COMPILE_OPTIONS "${made_up}")
		set(plain ${fuzz_virtq_parts})
		list(TRANSFORM plain PREPEND ${fuzz_io}/)
		target_sources(${target} PRIVATE fuzz/made_up_kernel.c fuzz/vhost_any.c fuzz/vhost_device.c ${plain})
		target_compile_definitions(${target} PRIVATE SV_VHOST_QUEUES=2u)
	endif()
	target_compile_options(${target} PRIVATE -iquote ${fuzz_io})
	target_include_directories(${target} PRIVATE fuzz ${fuzz_io}/include)
	target_link_libraries(${target} PRIVATE sv_base sv_channels PkgConfig::JANSSON PkgConfig::PCAP PkgConfig::URING)
endfunction()

foreach(what virtq packets vhost)
	add_executable(corpus_${what} fuzz/corpus_main.c fuzz/fuzz_${what}.c)
	fuzz_compile(corpus_${what} ${what})
	sv_hosted(corpus_${what})
	add_test(NAME corpus_${what} COMMAND corpus_${what} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${what})
	set_tests_properties(corpus_${what} PROPERTIES LABELS fuzz TIMEOUT 120)
	if(SV_FUZZ)
		add_executable(fuzz_${what} fuzz/fuzz_${what}.c)
		fuzz_compile(fuzz_${what} ${what})
		target_compile_options(fuzz_${what} PRIVATE -O2 -fsanitize=fuzzer,address,undefined
			-fno-sanitize-recover=all -fno-sanitize-coverage=trace-cmp)
		target_link_options(fuzz_${what} PRIVATE -fsanitize=fuzzer,address,undefined)
	endif()
endforeach()
