package ui

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/config"
)

// A destination is the settings that decide where a connection leads, as written. If any of them
// changes, secrets could be sent to another server.
type destination string

var destinationFields = map[string][]string{
	"general":   {"broker_url", "protocol", "tls_server_cert"},
	"extension": {"failover_urls", "proxy", "tls_server_name", "tls_insecure_skip_verify"},
}

// natsPath is the path of the connection to NATS, whose settings have no sections. The page does
// not open this connection, but can save it.
const natsPath = "nats"

var natsFields = []string{"urls", "tls_server_cert"}

// destinations returns the destinations of all connections of a configuration, by the paths of the
// connections.
func destinations(v *config.Value) map[string]destination {
	out := make(map[string]destination)
	for path, connection := range connectionsOf(v) {
		var parts []any
		if path == natsPath {
			for _, key := range natsFields {
				parts = append(parts, written(child(connection, key)))
			}
		}
		for _, section := range []string{"general", "extension"} {
			for _, key := range destinationFields[section] {
				parts = append(parts, written(child(child(connection, section), key)))
			}
		}
		text, err := json.Marshal(parts)
		if err == nil {
			out[path] = destination(text)
		}
	}
	return out
}

// connectionsOf returns the connections of a configuration by their paths.
func connectionsOf(v *config.Value) map[string]*config.Value {
	out := make(map[string]*config.Value)
	if c := child(v, "connector"); c != nil {
		out["connector"] = c
	}
	if c := child(v, natsPath); c != nil {
		out[natsPath] = c
	}
	if named := child(v, "connections"); named != nil {
		for i := range named.Values {
			out["connections."+named.Values[i].Key] = &named.Values[i]
		}
	}
	return out
}

func child(v *config.Value, key string) *config.Value {
	if v == nil {
		return nil
	}
	if i := slices.IndexFunc(v.Values, func(c config.Value) bool { return c.Key == key }); i >= 0 {
		return &v.Values[i]
	}
	return nil
}

// written returns a value as written, without its place.
func written(v *config.Value) any {
	if v == nil || v.Kind == "null" {
		return nil
	}
	if v.Kind == "text" {
		return v.Text
	}
	below := []any{v.Kind}
	for i := range v.Values {
		below = append(below, v.Values[i].Key, written(&v.Values[i]))
	}
	return below
}

// holdsSecret reports whether a value contains a placeholder.
func holdsSecret(v *config.Value) bool {
	return placeholder.MatchString(v.Text) || slices.ContainsFunc(v.Values, func(c config.Value) bool { return holdsSecret(&c) })
}

// connectionOf returns the path of the connection that a reference belongs to, or "".
func connectionOf(r config.Reference, all map[string]destination) string {
	for path := range all {
		if strings.HasPrefix(r.Path, path+".general.") || strings.HasPrefix(r.Path, path+".extension.") || path == natsPath && strings.HasPrefix(r.Path, path+".") {
			return path
		}
	}
	return ""
}

// A known is a reference that was in the file at the start, with the purpose for which it may be
// used.
type known struct {
	field, kind, name string
	to                destination // of its connection, or empty
}

// knownReferences returns the references of a configuration.
func knownReferences(d *config.Document) map[known]bool {
	out := make(map[known]bool)
	all := destinations(d.Values)
	for _, r := range d.References {
		out[known{r.Field(), r.Kind, r.Name, all[connectionOf(r, all)]}] = true
	}
	return out
}

var errDestination = &fault{409, "The server, or how it is reached and checked, is not the one that the secret of %s belongs to: enter the secret again.",
	"服务端地址或其连接、验证方式已更改，不再是 %s 的保密内容所属的服务端：请重新输入保密内容。"}
