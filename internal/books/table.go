package books

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// table has amounts by transaction_id, in about 20 bytes a payment: the transaction_ids
// themselves are not kept, only their hash. Two of a million payments have the same hash
// once in ten million days.
type table struct {
	seed   maphash.Seed
	shards [1 << 12][]entry // by the last bits of the hash, each sorted
}

type entry struct {
	key    uint64
	amount int64 // with seen
}

// seen marks an amount whose payment the bill has.
const seen = 1 << 62

func (e *entry) seen() bool    { return e.amount&seen != 0 }
func (e *entry) signed() int64 { return e.amount &^ seen }

func (t *table) key(s string) uint64 { return maphash.String(t.seed, s) }

// find returns the entry of a key, or nil. It is valid until the next add.
func (t *table) find(key uint64) *entry {
	shard := t.shards[key%uint64(len(t.shards))]
	if i, ok := place(shard, key); ok {
		return &shard[i]
	}
	return nil
}

// add reports whether the key is new, and adds it.
func (t *table) add(key uint64, amount int64) bool {
	shard := &t.shards[key%uint64(len(t.shards))]
	i, ok := place(*shard, key)
	if !ok {
		*shard = slices.Insert(*shard, i, entry{key, amount})
	}
	return !ok
}

func place(shard []entry, key uint64) (int, bool) {
	return slices.BinarySearchFunc(shard, key, func(e entry, key uint64) int { return cmp.Compare(e.key, key) })
}
