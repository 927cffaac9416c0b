// Package ui serves the page of a connector in a browser: its configuration, its connection test, its messages and its
// dead letters.
//
// # How the page is made
//
// Everything in web is embedded, served as it is and the same for everybody: it holds no secret. What the page shows
// it asks for below /api, which only a browser that has shown the token gets an answer from; see guard.go.
//
// A page of the navigation is one JavaScript module in web with these exports, and stands in the list of web/pages.js:
//
//	export const id = 'deadletters'                    // in the fragment of the URL: #/deadletters
//	export const title = {en: 'Dead letters', zh: '死信'}
//	export function mount(el, api) { ... }             // fills el; may return a function that is called when it goes
//
// mount gets api.get(path), api.post(path, body) and api.stream(path, body, each, signal) of web/api.js. Elements are
// made with el of web/dom.js: a text is never markup, and a text {en, zh} follows the language of the page.
//
// On the side of Go a page is a file with a function that adds its handlers; it stands in the list pages of routes.go,
// and status.go is the smallest one. A handler returns a value, which becomes JSON, or an error: a [*fault] is told to
// the user in both languages.
package ui
