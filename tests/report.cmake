# A plan as text, JSON, SVG and other tools' configuration.
foreach(name report report_export report_svg)
	sv_test(${name} unit/test_${name}.c unit/plan_by_hand.c LIBS sv_placement_report sv_placement
		PkgConfig::JANSSON PkgConfig::XML2 LABELS unit)
endforeach()
# Not in the tree: real machines, where they are.
target_compile_definitions(test_report_svg PRIVATE
	SV_TOPOLOGIES="${PROJECT_SOURCE_DIR}/../shared/topologies")
