package packets

import "strings"

// ValidTopicName returns nil if name is a valid Topic Name (section 4.7), and otherwise an
// [*EncodeError] of type PUBLISH that says why not.
func ValidTopicName(name string) error { return checkName(PUBLISH, "Topic", name, "MQTT-3.3.2-1") }

// ValidTopicFilter returns nil if filter is a valid Topic Filter (section 4.7), and otherwise an
// [*EncodeError] of type SUBSCRIBE that says why not.
func ValidTopicFilter(filter string) error {
	return checkFilter(SUBSCRIBE, "Filter", filter, "MQTT-3.8.3-1")
}

func checkName(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "MQTT-4.7.3-3", "is longer than 65,535 bytes"}
	}
	if plainName(s) {
		return nil
	}
	if _, spec, reason := badName(s, spec); reason != "" {
		return &EncodeError{t, field, spec, reason}
	}
	return nil
}

func checkFilter(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "MQTT-4.7.3-3", "is longer than 65,535 bytes"}
	}
	if _, spec, reason := badFilter(s, spec); reason != "" {
		return &EncodeError{t, field, spec, reason}
	}
	return nil
}

// plainName reports whether s is a Topic Name of printable ASCII characters, as nearly all are. It
// checks eight bytes at a time. If it returns false, s may still be valid; badName decides.
func plainName[T string | []byte](s T) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	if len(s) < 8 {
		for i := range len(s) {
			if c := s[i]; c == 0 || c == '+' || c == '#' || c >= 0x80 {
				return false
			}
		}
		return len(s) > 0
	}
	bad := uint64(0)
	for i := 0; ; i += 8 {
		i = min(i, len(s)-8) // the last eight may be checked twice
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		// x-ones borrows into the top bit of a byte that is zero. '+' and '#' differ
		// in one bit, so one comparison finds both.
		wild := (x | ('#'^'+')*ones) ^ '+'*ones
		bad |= x | (x - ones) | (wild - ones)
		if i == len(s)-8 {
			return bad&tops == 0
		}
	}
}

// badName returns where and why s is not a valid Topic Name. utf8 is the statement that requires it
// to be UTF-8.
func badName[T string | []byte](s T, utf8 string) (at int, spec, reason string) {
	if len(s) == 0 {
		return 0, "MQTT-4.7.3-1", "is empty"
	}
	if at, spec, reason := badText(s, utf8); reason != "" { // [MQTT-4.7.3-2]
		return at, spec, reason
	}
	for i := range len(s) {
		if s[i] == '+' || s[i] == '#' {
			return i, "MQTT-3.3.2-2", "holds a wildcard [MQTT-4.7.1-1]"
		}
	}
	return 0, "", ""
}

// badFilter returns where and why s is not a valid Topic Filter. utf8 is the statement that
// requires it to be UTF-8.
func badFilter[T string | []byte](s T, utf8 string) (at int, spec, reason string) {
	if len(s) == 0 {
		return 0, "MQTT-4.7.3-1", "is empty"
	}
	if at, spec, reason := badText(s, utf8); reason != "" { // [MQTT-4.7.3-2]
		return at, spec, reason
	}
	for i := range len(s) {
		first, last := i == 0 || s[i-1] == '/', i == len(s)-1
		switch s[i] {
		case '#':
			if !first || !last {
				return i, "MQTT-4.7.1-2", "has '#' not as its whole last level"
			}
		case '+':
			if !first || !last && s[i+1] != '/' {
				return i, "MQTT-4.7.1-3", "has '+' not as a whole level"
			}
		}
	}
	return 0, "", ""
}

// ParseShared splits the filter of a shared subscription, "$share/group/filter", into the group and
// the Topic Filter. Shared subscriptions are an extension of some servers; MQTT 3.1.1 does not
// define them. ok is false for any other filter, and if the group is empty or the rest is not a
// valid Topic Filter.
func ParseShared(filter string) (group, rest string, ok bool) {
	s, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", "", false
	}
	group, rest, ok = strings.Cut(s, "/")
	if !ok || group == "" || strings.ContainsAny(group, "+#") || ValidTopicFilter(rest) != nil {
		return "", "", false
	}
	return group, rest, true
}

// Undecorated removes the prefix by which some servers let a filter request a special kind of
// delivery, and returns the Topic Filter that the messages match: f for "$share/group/f" and
// "$oshare/group/f", for "$share:group:f" (HiveMQ), and for "$queue/f", "$exclusive/f" and
// "$local/f" (EMQX). MQTT 3.1.1 defines none of these prefixes; a server that does not know one
// takes it for part of the filter. ok is false for any other filter.
func Undecorated(filter string) (plain string, ok bool) {
	if !strings.HasPrefix(filter, "$") {
		return "", false
	}
	for _, d := range decorations {
		rest, ok := strings.CutPrefix(filter, d.prefix)
		if ok && d.end != "" {
			var group string
			group, rest, ok = strings.Cut(rest, d.end)
			ok = ok && group != "" && !strings.ContainsAny(group, "/+#")
		}
		if ok && ValidTopicFilter(rest) == nil {
			return rest, true
		}
	}
	return "", false
}

// decorations are the prefixes of filters that Undecorated removes. After some of them follows a
// group, up to end.
var decorations = []struct{ prefix, end string }{
	{"$share/", "/"}, {"$oshare/", "/"}, {"$share:", ":"}, {"$queue/", ""}, {"$exclusive/", ""}, {"$local/", ""},
}

// Match reports whether a Topic Filter matches a Topic Name (section 4.7); both must be valid. They
// are compared byte by byte, without normalisation [MQTT-4.7.3-4]. "+" matches one level, which may
// be empty. "#" matches any number of levels, including the parent of the level that it stands for.
// A filter that starts with a wildcard does not match a name that starts with "$" [MQTT-4.7.2-1].
func Match(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for f, t := 0, 0; ; f, t = f+1, t+1 { // level by level
		if filter[f:] == "#" {
			return true
		}
		if f < len(filter) && filter[f] == '+' {
			f++
			for t < len(topic) && topic[t] != '/' {
				t++
			}
		} else {
			for f < len(filter) && t < len(topic) && filter[f] == topic[t] && filter[f] != '/' {
				f++
				t++
			}
		}
		switch { // has the level ended in both?
		case f == len(filter):
			return t == len(topic)
		case filter[f] != '/':
			return false
		case t == len(topic):
			return filter[f+1:] == "#"
		case topic[t] != '/':
			return false
		}
	}
}
