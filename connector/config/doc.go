// Package config reads the configuration of a connector from YAML or JSON.
//
// Keys are those of the schema. The labels and headings of the platform are accepted as well, such
// as 订阅主题 for topics, and so are the usual spellings of choices ("At Least Once", at_least_once,
// 至少一次, 1). Durations are Go durations or whole seconds, as strings or numbers. A secret is a
// string or a source: {file: PATH}, {env: NAME} or {exec: [COMMAND]}. In client_id and topics,
// ${env:NAME} and ${hostname} are replaced.
//
// All errors are reported at once, in English and Chinese, with line, column and advice, and with
// the names of fields as they are in the file.
package config
