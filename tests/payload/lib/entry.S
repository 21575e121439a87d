/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the 64-bit boot protocol enters: long mode, the low 4 GiB mapped to themselves, no IDT, %rsi
 * at boot_params. An exception here is a triple fault, which the monitor reports with registers.
 */
	.section .text.entry, "ax"
	.globl _start
_start:
	lea	stack_top(%rip), %rsp
	xor	%ebp, %ebp
	mov	%rsi, boot_params_gpa(%rip)
	call	payload_main
	call	payload_done
1:	hlt
	jmp	1b

/*
 * Where a second CPU begins, in real mode, once copied to AP_TRAMPOLINE_GPA: straight to long mode
 * on the page tables and GDT that the boot CPU was given.
 */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	ap_gdt - ap_trampoline
	mov	$0x20, %eax		/* CR4.PAE */
	mov	%eax, %cr4
	mov	$0x9000, %eax		/* BOOT_PAGE_TABLE_GPA */
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER */
	xor	%edx, %edx
	mov	$0x100, %eax		/* LME */
	wrmsr
	mov	$0x80000011, %eax	/* CR0.PG, ET, PE */
	mov	%eax, %cr0
	ljmpl	$0x10, $ap_entry	/* BOOT_CODE_SELECTOR */
ap_gdt:
	.word	31
	.long	0x500			/* BOOT_GDT_GPA */
ap_trampoline_end:

	.code64
ap_entry:
	mov	$0x18, %eax		/* BOOT_DATA_SELECTOR */
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	lea	ap_stack_top(%rip), %rsp
	xor	%ebp, %ebp
	mov	ap_function(%rip), %rax
	call	*%rax
1:	hlt
	jmp	1b

	.bss
	.balign 16
	.skip	0x8000
stack_top:
	.skip	0x4000
ap_stack_top:
	.globl boot_params_gpa, ap_function
boot_params_gpa:
	.skip	8
ap_function:
	.skip	8
	.section .note.GNU-stack, "", @progbits
