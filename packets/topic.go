package packets

import "strings"

// ValidTopicName returns nil if a message may be published to the Topic Name, section
// 4.7; otherwise an [*EncodeError] of PUBLISH that says why not.
func ValidTopicName(name string) error { return checkName(PUBLISH, "Topic", name, "MQTT-3.3.2-1") }

// ValidTopicFilter returns nil if the Topic Filter may be subscribed to, section 4.7;
// otherwise an [*EncodeError] of SUBSCRIBE that says why not.
func ValidTopicFilter(filter string) error {
	return checkFilter(SUBSCRIBE, "Filter", filter, "MQTT-3.8.3-1")
}

func checkName(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "MQTT-4.7.3-3", "is longer than 65,535 bytes"}
	}
	if err := checkText(t, field, s, spec); err != nil {
		return err
	}
	if _, spec, reason := badName(s); reason != "" {
		return &EncodeError{t, field, spec, reason}
	}
	return nil
}

func checkFilter(t Type, field, s, spec string) error {
	if len(s) > maxField {
		return &EncodeError{t, field, "MQTT-4.7.3-3", "is longer than 65,535 bytes"}
	}
	if err := checkText(t, field, s, spec); err != nil {
		return err
	}
	if _, spec, reason := badFilter(s); reason != "" {
		return &EncodeError{t, field, spec, reason}
	}
	return nil
}

// badName returns where and why s is no Topic Name. That it is text was checked
// before [MQTT-4.7.3-2].
func badName(s string) (at int, spec, reason string) {
	if s == "" {
		return 0, "MQTT-4.7.3-1", "is empty"
	}
	for i := range len(s) {
		if s[i] == '+' || s[i] == '#' {
			return i, "MQTT-3.3.2-2", "holds a wildcard [MQTT-4.7.1-1]"
		}
	}
	return 0, "", ""
}

// badFilter returns where and why s is no Topic Filter.
func badFilter(s string) (at int, spec, reason string) {
	if s == "" {
		return 0, "MQTT-4.7.3-1", "is empty"
	}
	for i := range len(s) {
		alone := i == 0 || s[i-1] == '/'
		switch s[i] {
		case '#':
			if !alone || i != len(s)-1 {
				return i, "MQTT-4.7.1-2", "has '#' not as its whole last level"
			}
		case '+':
			if !alone || i != len(s)-1 && s[i+1] != '/' {
				return i, "MQTT-4.7.1-3", "has '+' not as a whole level"
			}
		}
	}
	return 0, "", ""
}

// ParseShared splits the filter of a shared subscription, "$share/group/filter": an
// extension of servers, which 3.1.1 does not have. ok is false for every other filter,
// and for one without a group or a rest.
func ParseShared(filter string) (group, rest string, ok bool) {
	s, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", "", false
	}
	group, rest, ok = strings.Cut(s, "/")
	if !ok || group == "" || rest == "" || strings.ContainsAny(group, "+#") {
		return "", "", false
	}
	return group, rest, true
}

// Match tells whether a valid Topic Filter matches a valid Topic Name, section 4.7:
// byte for byte, without any normalisation [MQTT-4.7.3-4]. "+" matches one level, also
// an empty one, and "#" what remains, also the level above it. A filter that starts
// with a wildcard does not match a name that starts with "$" [MQTT-4.7.2-1].
func Match(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, filterRest, moreFilter := strings.Cut(filter, "/")
		t, topicRest, moreTopic := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !moreFilter && !moreTopic:
			return true
		case !moreTopic:
			return filterRest == "#"
		case !moreFilter:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}
