# bash completion for mqtt311                              -*- shell-script -*-

# Bash divides words at : and = as well; the command wants them whole.
_mqtt311_words() {
	local rest=$COMP_LINE i word
	words=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((i == 0)) || [[ -z $rest || $rest == [[:space:]]* ]]; then
			rest=${rest#"${rest%%[![:space:]]*}"}
			words+=("$word")
		else
			words[${#words[@]} - 1]+=$word
		fi
		rest=${rest#"$word"}
	done
}

_mqtt311() {
	local words last current line directive=0 found=() before extensions
	_mqtt311_words
	last=${words[${#words[@]} - 1]}
	current=${COMP_WORDS[COMP_CWORD]}
	[[ $current == [:=] ]] && current=
	before=${last%"$current"} # what bash takes for words of their own
	before=${before#*=}
	COMPREPLY=()
	while IFS= read -r line; do
		if [[ $line =~ ^:[0-9]+$ ]]; then
			directive=${line#:}
		else
			found+=("${line%%$'\t'*}")
		fi
	done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	if ((directive & 1)); then
		return
	fi
	if ((directive & 8)); then
		extensions=$(IFS='|' && echo "${found[*]}")
		while IFS= read -r line; do
			if [[ -d $line || $line =~ \.($extensions)$ ]]; then
				COMPREPLY+=("$line")
			fi
		done < <(compgen -f -- "$current")
		compopt -o filenames 2>/dev/null
		return
	fi
	for line in "${found[@]}"; do
		line=${line#"$before"}
		if [[ -n $line && $line == "$current"* ]]; then
			COMPREPLY+=("$line")
		fi
	done
	if ((${#COMPREPLY[@]} == 0 && !(directive & 4))); then
		while IFS= read -r line; do
			COMPREPLY+=("$line")
		done < <(compgen -f -- "$current")
		compopt -o filenames 2>/dev/null
	elif ((directive & 2)); then
		compopt -o nospace 2>/dev/null
	fi
}

complete -F _mqtt311 mqtt311 mqtt311-nats
