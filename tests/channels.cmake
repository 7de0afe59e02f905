# The ring, the channel's host end, their model, and what the directory structure promises.
add_library(test_channel_by_hand STATIC unit/channel_by_hand.c)
target_include_directories(test_channel_by_hand PUBLIC unit ${PROJECT_SOURCE_DIR}/sidecore)
target_link_libraries(test_channel_by_hand PUBLIC sv_sidecore Threads::Threads)
sv_hosted(test_channel_by_hand)

sv_test(ring unit/test_ring.c LIBS sv_channels LABELS unit)
sv_test(channel_step step/test_channel_step.c LIBS test_channel_by_hand LABELS step)
