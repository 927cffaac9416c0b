// Package lint has the findings about a connector's configuration: what each is called, and
// its text in English and Chinese.
//
// A finding is a rule with arguments. Each language has one table with the words of every
// rule, english.go and chinese.go, and a test walks both. No text is made from the text of
// another package's error. What an argument holds comes from files and is escaped, so
// that a finding can be printed on a terminal.
package lint
