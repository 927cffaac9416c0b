// Package config reads a connector's configuration from YAML or JSON.
//
// Keys are those of the schema; the labels and headings of the platform stand for them as
// well (订阅主题 for topics), and so do the usual spellings of its choices ("At Least Once",
// at_least_once, 至少一次, 1). Durations are Go durations or whole seconds, as strings or numbers. A
// secret is a string, or says where it is read: {file: PATH}, {env: NAME} or {exec: [COMMAND]}. In
// client_id and topics ${env:NAME} and ${hostname} are replaced.
//
// Every mistake is reported at once, each with its line and column, in English and
// Chinese, with what to do, in the words that the file has for its fields.
package config
