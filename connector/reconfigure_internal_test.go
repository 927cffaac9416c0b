package connector

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Reconfigure names settings as a configuration does, whichever of them differ.
func TestReconfigureNamesSettings(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Properties map[string]struct {
					Properties map[string]any `json:"properties"`
				} `json:"properties"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	text, err := os.ReadFile("config/schema.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &schema))
	want := []string{"connections", "nats"} // as a whole
	for def, at := range map[string]string{"general": "connector.general", "advanced": "connector.advanced", "extension": "connector.extension", "consumer": "consumers.NAME", "producer": "producers.NAME"} {
		for key, p := range schema.Defs[def].Properties {
			if key != "on_failure" {
				want = append(want, at+"."+key)
				continue
			}
			for sub, p := range p.Properties {
				if len(p.Properties) == 0 {
					want = append(want, at+"."+key+"."+sub)
				}
				for last := range p.Properties {
					want = append(want, at+"."+key+"."+sub+"."+last)
				}
			}
		}
	}
	slices.Sort(want)
	var named []string
	note := func(path string, _, _ reflect.Value) { named = append(named, path) }
	differ(filled[Config](), reflect.ValueOf(Config{}), "", note)
	differ(filled[ConsumerParams](), reflect.ValueOf(ConsumerParams{}), "consumers.NAME.", note)
	differ(filled[ProducerParams](), reflect.ValueOf(ProducerParams{}), "producers.NAME.", note)
	slices.Sort(named)
	require.Equal(t, want, slices.Compact(named))
	for _, path := range changeable {
		require.Contains(t, named, path)
	}
	for _, path := range named {
		if strings.HasPrefix(path, "connector.general.") || strings.HasPrefix(path, "connector.advanced.") {
			require.True(t, needsRestart(path), path)
		}
	}
}

// filled returns a struct without zero fields.
func filled[T any]() reflect.Value {
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	fill(v)
	return v
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(1)
	default:
		v.SetInt(1)
	}
}

// The document lists every setting that can be changed.
func TestReconfigureIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/connector.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "## Another configuration while it runs\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		at := map[string]string{"| consumer": "consumers.NAME.", "| producer": "producers.NAME.", "| extension": "connector.extension."}[cells[0]]
		if at == "" {
			continue
		}
		require.Len(t, cells, 4, line)
		require.Contains(t, cells[3], "`Test", line)
		for _, setting := range regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, at+setting[1])
		}
	}
	require.ElementsMatch(t, changeable, documented)
}
