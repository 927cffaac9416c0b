package lint

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// pairwise defines overlap: some Topic Name matches both filters.
func pairwise(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; ; i++ {
		moreX, moreY := i < len(x), i < len(y)
		if i == 0 && x[0] != y[0] && (strings.HasPrefix(x[0], "$") || strings.HasPrefix(y[0], "$")) {
			return false
		}
		switch {
		case moreX && x[i] == "#", moreY && y[i] == "#":
			return true
		case !moreX || !moreY:
			return !moreX && !moreY
		case x[i] != "+" && y[i] != "+" && x[i] != y[i]:
			return false
		}
	}
}

// The tree and a comparison of all pairs agree on random filters with few levels and names, so that
// many overlap.
func TestFiltersAgreeWithPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "", "+", "$s"}
	filter := func() string {
		var levels []string
		for range 1 + random.IntN(4) {
			levels = append(levels, words[random.IntN(len(words))])
		}
		if random.IntN(4) == 0 {
			levels = append(levels, "#")
		}
		if f := strings.Join(levels, "/"); packets.ValidTopicFilter(f) == nil {
			return f
		}
		return "a"
	}
	for range 2000 {
		set := NewFilters()
		var all []Entry
		for owner := range 3 {
			for range random.IntN(4) {
				e := Entry{Owner: fmt.Sprint(owner), Filter: filter()}
				e.Subscribed = e.Filter
				if random.IntN(4) == 0 {
					e.Subscribed = "$share/g/" + e.Filter
				}
				var same, other bool
				for _, o := range all {
					over := pairwise(o.Filter, e.Filter)
					same = same || over && o.Owner == e.Owner
					other = other || over && o.Owner != e.Owner && o.Subscribed != e.Subscribed
				}
				require.Equal(t, same, set.Same(e) != nil, "%v %v", e, all)
				require.Equal(t, other, set.Other(e) != nil, "%v %v", e, all)
				set.Add(e)
				all = append(all, e)
			}
		}
		topic := strings.NewReplacer("+", "a", "#", "b").Replace(filter())
		if packets.ValidTopicName(topic) != nil {
			continue
		}
		matches := false
		for _, e := range all {
			matches = matches || packets.Match(e.Filter, topic)
		}
		require.Equal(t, matches, set.Matching(topic) != nil, "%s %v", topic, all)
	}
}

// Searching filters that are made to be expensive is given up, and Exhausted reports that.
func TestFiltersGiveUp(t *testing.T) {
	set := NewFilters()
	start := time.Now()
	for i := range 20_000 {
		e := Entry{Owner: "c", Subscribed: fmt.Sprintf("a%d/+/b", i), Filter: fmt.Sprintf("a%d/+/b", i)}
		set.Add(e)
	}
	for i := range 20_000 {
		e := Entry{Owner: "d", Filter: fmt.Sprintf("+/+/c%d", i)}
		require.Nil(t, set.Other(e))
	}
	require.True(t, set.Exhausted())
	require.Less(t, time.Since(start), time.Minute)
}
