// Package lint defines the findings about a connector's configuration: their codes and their texts
// in English and Chinese.
//
// A finding is a rule with arguments. The texts of the rules are in english.go and chinese.go; a
// test checks that both are complete. Texts never contain the error texts of other packages.
// Arguments come from files and are escaped, so that a finding can safely be printed on a terminal.
package lint
