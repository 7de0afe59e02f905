# Direct paging: the plain model as oracle.
sv_test(paging_oracle stress/test_paging_oracle.c unit/paging_model.c LIBS sv_paging LABELS unit)
target_include_directories(test_paging_oracle PRIVATE unit)
