/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enter_user(fn): from now on at CPL 3, in fn, on a stack of its own, with interrupts off and IOPL 3,
 * so that ports are reached as before. There is no way back.
 */
	.text
	.globl enter_user
enter_user:
	lgdt	gdt_register(%rip)
	pushq	$0x23			/* SS */
	lea	user_stack_top(%rip), %rax
	pushq	%rax
	pushq	$0x3002			/* RFLAGS: IOPL 3 */
	pushq	$0x2b			/* CS */
	pushq	%rdi
	iretq

	.data
	.balign	16
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff	/* 0x10: code, as the boot protocol has it */
	.quad	0x00cf93000000ffff	/* 0x18: data */
	.quad	0x00cff3000000ffff	/* 0x23: data for CPL 3 */
	.quad	0x00affb000000ffff	/* 0x2b: code for CPL 3 */
gdt_register:
	.word	. - gdt - 1
	.quad	gdt

	.bss
	.balign	16
	.skip	0x4000
user_stack_top:
	.section .note.GNU-stack, "", @progbits
