"""The completion scripts. Each calls ``wherry __complete WORDS...``, which prints one candidate per line.

No answer is ever evaluated: a candidate is put on the command line, and nothing else is done with it. bash and zsh call
the command as it was typed: ``./wherry`` from a clone is not on the path.
"""

from __future__ import annotations

__all__ = ["SCRIPTS"]

# bash cuts words at ":" and "=" as well, so that alpine:3 are three: they are put together again, and of an answer only
# what is behind the last of these is given back. Candidates come with nothing in them that a shell would expand.
_BASH = """\
# bash completion for wherry; put it in force with: source <(wherry completion bash)
_wherry() {
    local program=$1 rest=$COMP_LINE word words=() i cut
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ${#words[@]} -gt 0 && $rest != [[:space:]]* ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$word"}
    done
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    mapfile -t COMPREPLY < <("$program" __complete "${words[@]:1}" 2>/dev/null)
    word=${words[${#words[@]}-1]}
    cut=${word%"${word##*[$COMP_WORDBREAKS]}"}
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=-] ]] && compopt -o nospace
    return 0
}
complete -o default -F _wherry wherry
"""
_ZSH = """\
#compdef wherry
# zsh completion for wherry; put it in force with: source <(wherry completion zsh)
_wherry() {
    local program=${(Q)words[1]}
    local -a found partial whole
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    found=(${(f)"$("$program" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( $#found )) || { _files; return }
    partial=(${(M)found:#*[:=-]}) whole=(${found:#*[:=-]})
    (( $#whole )) && compadd -a whole
    (( $#partial )) && compadd -S '' -a partial
}
compdef _wherry wherry
"""
_FISH = """\
# fish completion for wherry; put it in force with: wherry completion fish | source
complete -c wherry -a '(wherry __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
