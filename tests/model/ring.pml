/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One direction of a channel with its sleep/wake protocol, under x86-TSO: a ring of two entries, a
 * guest that sends MESSAGES requests in batches of one or two, a sidecore that takes them and sleeps
 * whenever it likes. channels/include/channels/ring.h and sidecore/endpoint.c are what is modelled;
 * the names of the edges are those of channels/ORDERING.md.
 *
 * Each CPU's plain stores go through a FIFO store buffer, which another process empties at any
 * moment; an exchange waits until its CPU's buffer is empty and then writes memory. Loads read
 * memory: no side reads back a word of its own, so that nothing is ever forwarded from a buffer.
 *
 * Found as errors: a message lost, doubled, reordered or torn, a sequence word that the sidecore
 * would call a defect (assertions); a lost wake-up or any other deadlock (invalid end state); with
 * -DLIVE, a run in which the messages never all arrive although every CPU goes on.
 *
 * The sidecore's sleep has no deadline here: the protocol needs none.
 *
 * Planted: NO_FENCE, NO_RECHECK, REUSE_EARLY, SEQ_FIRST, RETIRE_FIRST.
 */
#ifndef MESSAGES
#define MESSAGES 8
#endif

/* Words of shared memory. */
#define SEQ 0	   /* two of them, written by the guest */
#define DATA 2	   /* two of them, written by the guest */
#define CONSUMED 4 /* written by the sidecore */
#define SLEEPING 5 /* written by the sidecore */
#define WORDS 6

byte mem[WORDS];
bool doorbell; /* the eventfd: set by the kernel on the guest's behalf, taken by the sidecore */
byte received;

chan guest_buffer = [4] of { byte, byte };
chan side_buffer = [4] of { byte, byte };

inline store(buffer, word, value)
{
	buffer ! word, value
}

inline exchange(buffer, word, value)
{
	atomic { empty(buffer) -> mem[word] = value }
}

inline put(position)
{
	store(guest_buffer, DATA + (position) % 2, (position) + 1);
	store(guest_buffer, SEQ + (position) % 2, (position) + 1)
}

inline put_last(position)
{
	store(guest_buffer, DATA + (position) % 2, (position) + 1);
#ifdef NO_FENCE
	store(guest_buffer, SEQ + (position) % 2, (position) + 1)
#else
	exchange(guest_buffer, SEQ + (position) % 2, (position) + 1)
#endif
}

#ifdef REUSE_EARLY
#define ENTRIES_BELIEVED 3
#else
#define ENTRIES_BELIEVED 2
#endif

active proctype guest()
{
	byte pos, batch, asleep;

	do
	:: pos < MESSAGES ->
		if
		:: batch = 1
		:: pos + 2 <= MESSAGES -> batch = 2
		fi;
		/* RETIRE, acquire side: room for the whole batch */
		(pos + batch - mem[CONSUMED] <= ENTRIES_BELIEVED);
		/* PUBLISH, release side; WAKE for the entry that is published last */
#ifdef SEQ_FIRST
		store(guest_buffer, SEQ + pos % 2, pos + 1);
		store(guest_buffer, DATA + pos % 2, pos + 1);
		empty(guest_buffer);
		batch = 1;
#else
		if
		:: batch == 1 -> put_last(pos)
		:: batch == 2 -> put(pos); put_last(pos + 1) /* entry by entry */
		:: batch == 2 -> put(pos + 1); put_last(pos) /* the first one last */
		fi;
#endif
		pos = pos + batch;
		asleep = mem[SLEEPING];
		if
		/* an exit to the kernel: nothing of before stays in the buffer */
		:: asleep -> atomic { empty(guest_buffer) -> doorbell = true }
		:: else
		fi
	:: pos == MESSAGES -> break
	od
}

active proctype sidecore()
{
	byte pos, seq, data;

	do
	:: received == MESSAGES -> break
	:: received < MESSAGES ->
		seq = mem[SEQ + pos % 2]; /* PUBLISH, acquire side */
		if
		:: seq == pos + 1 ->
#ifdef RETIRE_FIRST
			store(side_buffer, CONSUMED, pos + 1);
#endif
			data = mem[DATA + pos % 2];
			assert(data == pos + 1);
			pos++;
			received++;
#ifndef RETIRE_FIRST
			store(side_buffer, CONSUMED, pos) /* RETIRE, release side */
#endif
		:: seq != pos + 1 ->
			/* a defect otherwise: neither this lap's nor the lap before's */
			assert((pos < 2 && seq == 0) || (pos >= 2 && seq == pos - 1));
			if
			:: true /* look again */
			:: true ->
				exchange(side_buffer, SLEEPING, 1); /* SLEEP */
#ifndef NO_RECHECK
				seq = mem[SEQ + pos % 2];
#endif
				if
				:: seq == pos + 1 -> store(side_buffer, SLEEPING, 0)
				:: else ->
					(doorbell);
					/* whatever comes first: the next poll is after both */
					if
					:: doorbell = false; store(side_buffer, SLEEPING, 0)
					:: store(side_buffer, SLEEPING, 0); doorbell = false
					fi
				fi
			fi
		fi
	od;
	assert(received == MESSAGES && pos == MESSAGES)
}

/* The store buffers empty themselves at any moment, in order. */
active proctype guest_drains()
{
	byte word, value;
end:	do
	:: atomic { guest_buffer ? word, value -> mem[word] = value; word = 0; value = 0 }
	od
}

active proctype side_drains()
{
	byte word, value;
end:	do
	:: atomic { side_buffer ? word, value -> mem[word] = value; word = 0; value = 0 }
	od
}

#ifdef LIVE
ltl all_arrive { <> (received == MESSAGES) }
#endif
