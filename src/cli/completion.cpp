#include "cli/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace thaw::cli {
namespace {

// --- what the declared types mean

enum class Kind { words, key, directory, file, free };

Kind kind_of(std::string_view type) {
  if (type.starts_with("KEY")) return Kind::key;
  if (type == "DIR") return Kind::directory;
  if (type.starts_with("FILE") || type == "URL") return Kind::file;
  const bool lower = !type.empty() && type.find_first_not_of("abcdefghijklmnopqrstuvwxyz|-") ==
                                          std::string_view::npos;
  return lower ? Kind::words : Kind::free;
}

std::string words_of(std::string type) {
  std::replace(type.begin(), type.end(), '|', ' ');
  return type;
}

bool takes_value(const CLI::Option* option) { return option->get_items_expected_max() > 0; }

std::vector<std::string> spellings(const CLI::Option* option) {
  std::vector<std::string> names;
  for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

std::vector<const CLI::Option*> arguments_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

// The global options, which every command takes too; --version stands alone.
std::vector<const CLI::Option*> options_of_command(const CLI::App& command, const CLI::App& root) {
  auto options = options_of(command);
  for (const CLI::Option* option : options_of(root)) {
    const bool own = option == root.get_help_ptr() || option->check_lname("version");
    if (!own) options.push_back(option);
  }
  return options;
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

// --- bash

std::string bash_action(const std::string& type) {
  switch (kind_of(type)) {
    case Kind::words:
      return fmt::format("_thaw_words '{}'", words_of(type));
    case Kind::key:
      return "_thaw_keys";
    case Kind::directory:
      return "_thaw_files -d";
    case Kind::file:
      return "_thaw_files -f";
    case Kind::free:
      return ":";
  }
  return ":";
}

// One `case` branch that answers for the value of each option.
std::string bash_values(const std::vector<const CLI::Option*>& options) {
  std::string text;
  for (const CLI::Option* option : options) {
    if (!takes_value(option)) continue;
    text += fmt::format("        {}) {}; return ;;\n", joined(spellings(option), " | "),
                        bash_action(option->get_type_name()));
  }
  return text;
}

std::string bash_names(const std::vector<const CLI::Option*>& options) {
  std::vector<std::string> names;
  for (const CLI::Option* option : options) {
    for (std::string& name : spellings(option)) names.push_back(std::move(name));
  }
  return joined(names, " ");
}

// The function of one command: values of options, names of options, positional words.
std::string bash_function(const CLI::App& command, const CLI::App& root) {
  const auto options = options_of_command(command, root);
  std::string text = fmt::format("_thaw_{}() {{\n", command.get_name());
  text += "    case $prev in\n" + bash_values(options) + "    esac\n";
  text += fmt::format("    if [[ $cur == -* ]]; then _thaw_words '{}'; return; fi\n",
                      bash_names(options));
  text += "    case $words_before in\n";
  int place = 0;
  for (const CLI::Option* argument : arguments_of(command)) {
    text += fmt::format("        {}) {} ;;\n", place++, bash_action(argument->get_type_name()));
  }
  return text + "    esac\n}\n\n";
}

constexpr const char* kBashHead = R"SH(# bash completion for thaw: source <(thaw completion bash)

_thaw_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_thaw_files() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen "$1" -- "$cur"); }
_thaw_keys() {
    local keys
    keys=$("${COMP_WORDS[0]}" --quiet --timeout 2s ls 2>/dev/null | sed -n '2,$s/@[0-9]* .*//p')
    mapfile -t COMPREPLY < <(compgen -W "$keys" -- "$cur")
}

)SH";

constexpr const char* kBashTail = R"SH(_thaw() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev='' command='' words_before=0 i
    ((COMP_CWORD > 0)) && prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            @VALUED@) ((i++)) ;;
            -*) ;;
            *)
                if [[ -z $command ]]; then
                    command=${COMP_WORDS[i]}
                else
                    ((words_before++))
                fi
                ;;
        esac
    done
    if [[ -n $command ]]; then
        if declare -F "_thaw_$command" >/dev/null; then "_thaw_$command"; fi
        return
    fi
    case $prev in
@VALUES@    esac
    if [[ $cur == -* ]]; then
        _thaw_words '@OPTIONS@'
    else
        _thaw_words '@COMMANDS@'
    fi
}

complete -F _thaw thaw
)SH";

void replace(std::string& text, std::string_view mark, const std::string& by) {
  text.replace(text.find(mark), mark.size(), by);
}

// Every spelling of every option that is followed by its value.
std::string valued_names(const CLI::App& root) {
  std::vector<std::string> names;
  auto add = [&names](const CLI::App& app) {
    for (const CLI::Option* option : options_of(app)) {
      if (!takes_value(option)) continue;
      for (std::string& name : spellings(option)) names.push_back(std::move(name));
    }
  };
  add(root);
  for (const CLI::App* command : root.get_subcommands({})) add(*command);
  return joined(names, " | ");
}

// --- zsh

// Inside single quotes, and inside the brackets of _arguments.
std::string zsh_quoted(std::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else if (c == '[' || c == ']' || c == ':' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else {
      quoted += c;
    }
  }
  return quoted;
}

std::string zsh_action(const std::string& type) {
  switch (kind_of(type)) {
    case Kind::words:
      return fmt::format("({})", words_of(type));
    case Kind::key:
      return "_thaw_keys";
    case Kind::directory:
      return "_files -/";
    case Kind::file:
      return "_files";
    case Kind::free:
      return " ";
  }
  return " ";
}

std::string zsh_options(const std::vector<const CLI::Option*>& options) {
  std::string text;
  for (const CLI::Option* option : options) {
    for (const std::string& name : spellings(option)) {
      const std::string what = zsh_quoted(option->get_description());
      const std::string type = option->get_type_name();
      text += fmt::format(" \\\n        '*{}[{}]", name, what);
      if (takes_value(option)) text += fmt::format(":{}:{}", zsh_quoted(type), zsh_action(type));
      text += '\'';
    }
  }
  return text;
}

std::string zsh_function(const CLI::App& command, const CLI::App& root) {
  std::string text = fmt::format("_thaw_{}() {{\n    _arguments -s", command.get_name());
  text += zsh_options(options_of_command(command, root));
  for (const CLI::Option* argument : arguments_of(command)) {
    text += fmt::format(" \\\n        '{}{}:{}'", argument->get_required() ? ":" : "::",
                        zsh_quoted(argument->get_name(true, false)),
                        zsh_action(argument->get_type_name()));
  }
  return text + "\n}\n\n";
}

constexpr const char* kZshHead = R"SH(#compdef thaw
# zsh completion for thaw: thaw completion zsh > "${fpath[1]}/_thaw"

_thaw_keys() {
    local -a keys
    keys=(${(f)"$(thaw --quiet --timeout 2s ls 2>/dev/null | sed -n '2,$s/@[0-9]* .*//p')"})
    compadd -a keys
}

)SH";

constexpr const char* kZshTail = R"SH(
    case $state in
        command) _describe -t commands 'thaw command' commands ;;
        argument) (( $+functions[_thaw_$line[1]] )) && _thaw_$line[1] ;;
    esac
}

if [[ $funcstack[1] == _thaw ]]; then _thaw "$@"; else compdef _thaw thaw; fi
)SH";

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string text = kBashHead;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    text += bash_function(*command, app);
    names.push_back(command->get_name());
  }
  std::string tail = kBashTail;
  replace(tail, "@VALUED@", valued_names(app));
  replace(tail, "@VALUES@", bash_values(options_of(app)));
  replace(tail, "@OPTIONS@", bash_names(options_of(app)));
  replace(tail, "@COMMANDS@", joined(names, " "));
  return text + tail;
}

std::string zsh_completion(const CLI::App& app) {
  std::string text = kZshHead;
  std::string commands;
  for (const CLI::App* command : app.get_subcommands({})) {
    text += zsh_function(*command, app);
    commands += fmt::format("        '{}:{}'\n", command->get_name(),
                            zsh_quoted(command->get_description()));
  }
  text += "_thaw() {\n    local state line\n    typeset -A opt_args\n    local -a commands=(\n" +
          commands + "    )\n    _arguments -s -C";
  text += zsh_options(options_of(app));
  text += " \\\n        '1:command:->command' '*::argument:->argument'\n";
  return text + kZshTail;
}

}  // namespace thaw::cli
