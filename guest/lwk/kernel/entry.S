/* SPDX-License-Identifier: BSD-3-Clause */
/* The entry of every vCPU, the way to CPL 3, and the trap stubs. */

	.section .note.sidevisor, "a", @note
	.balign 4
	.long 10, 4, 0x53560001		/* name size, descriptor size, SV_ELF_NOTE_TYPE */
	.asciz "sidevisor"
	.balign 4
	.long 1				/* ABI version */

	.text
/* RDI = struct sv_boot, RSI = number of this vCPU: a stack of its own, then C. */
	.globl lwk_entry
lwk_entry:
	cmp	$1024, %rsi		/* LWK_MAX_VCPUS */
	jae	1f
	lea	1(%rsi), %rax
	shl	$10, %rax		/* LWK_KERNEL_STACK */
	lea	kernel_stacks(%rax), %rsp
	xor	%ebp, %ebp
	call	kernel_main
1:	cli
	hlt
	jmp	1b

/* kernel_enter_user(rip, rsp, vcpu): IOPL 3, interrupts on. */
	.globl kernel_enter_user
kernel_enter_user:
	pushq	$0x1b			/* USER_DS */
	push	%rsi
	pushq	$0x3202
	pushq	$0x23			/* USER_CS */
	push	%rdi
	mov	%rdx, %rdi
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%ebp, %ebp
	iretq

/* 64 stubs of 16 bytes: push the vector, with a zero where the processor pushes no error code. */
	.balign 16
	.globl trap_stubs
trap_stubs:
	vector = 0
	.rept 64
	.balign 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	vector = vector + 1
	.endr

trap_common:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	call	kernel_trap
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	.section .bss
	.balign 4096
	.globl kernel_stacks
kernel_stacks:
	.skip 1024 * 1024		/* LWK_MAX_VCPUS * LWK_KERNEL_STACK */
