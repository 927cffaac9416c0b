package yamltext

import (
	"bytes"
	"encoding/json"
	"errors"
)

// maxDepth is more than any value of a configuration needs.
const maxDepth = 20

// FromJSON returns a value for [Set] from JSON, with the keys of objects in their order; nil for null.
func FromJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := fromJSON(d, 0)
	if err == nil && d.More() {
		err = errors.New("yamltext: more than one value")
	}
	return v, err
}

func fromJSON(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	switch {
	case err != nil:
		return nil, err
	case depth > maxDepth:
		return nil, errors.New("yamltext: the value is too deep")
	}
	switch t {
	case json.Delim('['):
		out := []any{}
		for d.More() {
			item, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, item)
		}
		_, err = d.Token()
		return out, err
	case json.Delim('{'):
		out := Object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, Member{key.(string), value})
		}
		_, err = d.Token()
		return out, err
	}
	return t, nil
}
