// Package ui serves a web page for a connector, with its configuration, connection test, messages
// and dead letters.
//
// # How the page is made
//
// The files in web are embedded and served unchanged to everyone; they contain no secrets. The page
// gets its data from /api, which answers only browsers that have presented the token; see guard.go.
//
// Each page of the navigation is a JavaScript module in web with these exports, and is listed in
// web/pages.js:
//
//	export const id = 'deadletters'                    // in the fragment of the URL: #/deadletters
//	export const title = {en: 'Dead letters', zh: '死信'}
//	export function mount(el, api) { ... }             // fills el; may return a function that is called when the page is left
//
// The argument api of mount has get(path), post(path, body) and stream(path, body, each, signal),
// from web/api.js. Elements are made with el of web/dom.js: text is never treated as markup, and a
// text {en, zh} follows the language of the page.
//
// In Go, a page is a file with a function that adds its handlers and is listed in pages in
// routes.go; status.go is the smallest. A handler returns a value, which is sent as JSON, or an
// error; a [*fault] is shown to the user in both languages.
package ui
