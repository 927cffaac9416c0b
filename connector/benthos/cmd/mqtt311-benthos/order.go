package main

import (
	"errors"

	"github.com/mqtt311/mqtt311/connector/benthos"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// checkOrder refuses a pipeline that cannot keep the order that an input asks for. The input hands over one
// message of a topic at a time and waits until it is acknowledged, so that messages of a topic never meet.
// A buffer acknowledges messages when it has taken them: then they can meet, and only a single thread keeps
// them in order.
func checkOrder(conf *service.ParsedConfig) error {
	whole, err := conf.FieldAny()
	if err != nil {
		return err
	}
	c, _ := whole.(map[string]any)
	if !ordered([]any{c["input"], c["input_resources"]}) || !buffers(c["buffer"]) {
		return nil
	}
	pipeline, _ := c["pipeline"].(map[string]any)
	switch pipeline["threads"] {
	case 1, int64(1), float64(1):
		return nil
	}
	return errors.New("the input mqtt311 has order: true, and the buffer acknowledges messages before they are delivered: " +
		"remove the buffer, or set pipeline.threads to 1, and max_in_flight of the output as well")
}

// plain returns the value of a component's configuration, which the engine keeps as it was written.
func plain(v any) any {
	written, ok := v.(interface{ Decode(any) error })
	if !ok {
		return v
	}
	var said any
	if written.Decode(&said) != nil {
		return nil // the engine says so
	}
	return said
}

// ordered reports whether v contains an input with order: true.
func ordered(v any) bool {
	switch v := plain(v).(type) {
	case map[string]any:
		if in, ok := v[benthos.Name].(map[string]any); ok && in["order"] == true {
			return true
		}
		for _, inner := range v {
			if ordered(inner) {
				return true
			}
		}
	case []any:
		for _, inner := range v {
			if ordered(inner) {
				return true
			}
		}
	}
	return false
}

// buffers reports whether v is a buffer that stores messages.
func buffers(v any) bool {
	buffer, _ := plain(v).(map[string]any)
	for kind := range buffer {
		if kind != "none" && kind != "label" {
			return true
		}
	}
	return false
}
