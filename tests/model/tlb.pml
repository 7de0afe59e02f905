/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may still use a translation that was taken away: one frame, one page-table entry, two vCPUs that map,
 * unmap and settle as guest/lwk/lib/paging.c does, a service as in paging/tlb.c and paging/frames.c, and
 * processors that may read the entry at any moment and use what they have read later.
 *
 * Without -DSHADOW processors walk the table: a walk has begun (walk[]) before it fills the TLB; a flush ends
 * the walks and empties the TLB of its own vCPU. With -DSHADOW KVM does it: a fault has read the guest's
 * entry, takes note of KVM's invalidation counter, and installs if that has not moved; a FORGET moves it,
 * drops what is installed and empties all TLBs. An interrupt is answered from the guest: no fault is under way then,
 * nor while a vCPU makes a request.
 *
 * Errors: a vCPU that can write to a frame that is a table; a translation left when an unmap has returned
 * and nobody has mapped the page since (assertions); a deadlock.
 *
 * Planted: NO_CLOSE (the epoch is closed by FLUSHED, not by the unmap), EARLY_FLUSHED (said before the
 * flush), NO_MARK (a frame becomes a table without a look at its mark), ONE_VCPU (the others are not
 * asked to flush), NO_ANSWER (SHADOW: FORGET at once, while another vCPU may be in a fault).
 */
#ifndef ROUNDS
#define ROUNDS 3
#endif
#define VCPUS 2

bool present;	       /* the entry; the frame is mapped writable through it */
bool is_table;	       /* the frame's type */
byte epoch = 1, clean, stale;
byte maps;	       /* how often it was mapped */
bool tlb[VCPUS], walk[VCPUS];
bool shadow;	       /* KVM's own entry */
bool locked;	       /* a request that takes more than one step */
byte invalidations, noted[VCPUS];
bool in_fault[VCPUS], has_noted[VCPUS];
bool busy[VCPUS];	       /* it makes a request: it is in no fault of its own */

/* The service answers one request at a time: atomic. */
inline do_map()
{
	atomic { !locked; if :: !present && !is_table -> present = true; maps++ :: else fi }
}

inline do_pin()
{
	atomic {
		!locked;
		if
#ifdef NO_MARK
		:: !present && !is_table -> is_table = true
#else
		:: !present && !is_table && stale <= clean -> is_table = true
#endif
		:: else
		fi
	}
}

inline do_unpin()
{
	atomic { !locked; if :: is_table -> is_table = false :: else fi }
}

inline flush(v)
{
	atomic { tlb[v] = false; walk[v] = false }
}

inline flushed(e)
{
	atomic {
		if :: e > clean -> clean = e :: else fi;
#ifdef NO_CLOSE
		if :: epoch == e -> epoch++ :: else fi
#endif
	}
}

/* The mapping of the host changes twice; faults go on between, other requests wait. */
inline forget(e)
{
	atomic { !locked -> locked = true; invalidations++; shadow = false; tlb[0] = false; tlb[1] = false };
	atomic { invalidations++; locked = false; if :: stale <= e -> stale = 0 :: else fi }
}

/* An interrupt that the other vCPU answers: it is in no fault at that moment. */
inline answer(v)
{
	atomic { !in_fault[v] -> tlb[v] = false }
}

/* From the request to the moment the caller may use the frame for something else. */
inline do_unmap()
{
	atomic {
		!in_fault[me] && !locked -> busy[me] = true;
		took = present;
		if
		:: took ->
			present = false; seen = maps; stale = epoch; e = epoch;
#ifndef NO_CLOSE
			epoch++
#endif
		:: else
		fi
	};
	if
	:: took ->
#ifdef SHADOW
#ifndef NO_ANSWER
		answer(1 - me);
#endif
		forget(e);
#else
#ifdef EARLY_FLUSHED
		flushed(e);
#endif
		flush(me);
#ifndef ONE_VCPU
		flush(1 - me);
#endif
		/* The library says FLUSHED later, or never. */
		if :: say = true :: say = false fi;
		if :: say -> flushed(e) :: !say fi;
#endif
		atomic {
			if
			:: !present && maps == seen -> assert(!tlb[0] && !tlb[1] && !shadow)
			:: else
			fi
		}
	:: !took
	fi;
	busy[me] = false
}

proctype vcpu(byte me)
{
	byte round, e, seen, action;
	bool took, say;

	do
	:: round < ROUNDS ->
		round++;
		if :: action = 0 :: action = 1 :: action = 2 :: action = 3 fi;
		if
		:: action == 0 -> do_map()
		:: action == 1 -> do_pin()
		:: action == 2 -> do_unpin()
		:: action == 3 -> do_unmap()
		fi
	:: else -> break
	od
}

/* The processor of a vCPU, or KVM on its behalf. */
proctype processor(byte v)
{
end:	do
#ifdef SHADOW
	:: atomic { !busy[v] && !in_fault[v] && !shadow && present -> in_fault[v] = true; has_noted[v] = false }
	:: atomic { in_fault[v] && !has_noted[v] -> has_noted[v] = true; noted[v] = invalidations }
	:: atomic {
		in_fault[v] && has_noted[v] ->
		in_fault[v] = false;
		if :: noted[v] == invalidations -> shadow = true; tlb[v] = true :: else fi
	   }
	:: atomic { shadow && !in_fault[v] && !tlb[v] -> tlb[v] = true }
#else
	:: atomic { present && !walk[v] -> walk[v] = true }
	:: atomic { walk[v] -> walk[v] = false; tlb[v] = true }
#endif
	:: atomic { tlb[v] && is_table -> assert(false) } /* it could write to a table */
	od
}

init {
	atomic {
		run vcpu(0);
		run vcpu(1);
		run processor(0);
		run processor(1)
	}
}
