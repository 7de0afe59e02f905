/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The services that a guest may call through a channel, and their opcodes. Freestanding.
 */
#ifndef SIDEVISOR_SERVICES_H
#define SIDEVISOR_SERVICES_H

/* 0: the channel itself. Always there. */
#define SV_SERVICE_CORE 0u
#define SV_CORE_NOP 0u  /* value[0] = arg[0]: the empty round trip */
#define SV_CORE_INFO 1u /* value[0] = ABI version, value[1] = bit mask of services 0..63 */
#define SV_CORE_TIME 2u /* value[0] = host CLOCK_REALTIME ns, value[1] = TSC at that moment */

/*
 * 1: console. WRITE carries up to 32 bytes in arg[1..4] (arg[0] = length), little endian, first
 * byte lowest. READ returns value[0] = length 0..32 and the bytes in value[1..4].
 */
#define SV_SERVICE_CONSOLE 1u
#define SV_CONSOLE_WRITE 0u
#define SV_CONSOLE_READ 1u
#define SV_CONSOLE_INLINE_BYTES 32u

/*
 * 2: measurement. PINGPONG: the sidecore leaves its rings and bounces one raw cache line with the
 * guest arg[1] times: line A at guest-physical arg[0] is written by the guest with 1, 2, 3 …, line
 * B, 64 bytes after it, by the sidecore with the same number. The completion of the request comes
 * at once, before the first bounce. The sidecore gives up 100 ms after the last bounce it saw.
 */
#define SV_SERVICE_BENCH 2u
#define SV_BENCH_PINGPONG 0u
#define SV_BENCH_PINGPONG_MAX 100000u

#endif
