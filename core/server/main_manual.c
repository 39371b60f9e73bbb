/* In: the table of commands. Out: the manual page chatbox(1), and the completion of bash(1). Why: what is said about
 * the command line is made from what --help says, so it cannot fall behind. The usage line of a command is read as it
 * is written: [optional], --option VALUE, one|of|these, word, FILE, DIR. */
#include "main_impl.h"

#include "roff.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_MAX 192 /* bytes of one word of a usage line */

/* ---- the manual page ---- */

/* Words in lower case and options are bold, as they are typed; what stands for something else is in italics. */
static void line_roff(const char *line, FILE *out) {
  bool bold = false, begins = true;
  fputs("\\fBchatbox\\fR ", out);
  for (const char *p = line; *p; p++) {
    bool typed = islower((unsigned char)*p) || *p == '-' || isdigit((unsigned char)*p) || *p == '.' || *p == '%';
    bool named = isupper((unsigned char)*p) != 0;
    if (begins && (typed || named)) {
      fputs(typed ? "\\fB" : "\\fI", out);
      bold = true;
      begins = false;
    } else if (!typed && !named && bold) {
      fputs("\\fR", out);
      bold = false;
      begins = true;
    }
    roff_put((const char[]){*p, '\0'}, out);
  }
  fputs(bold ? "\\fR\n" : "\n", out);
}

void manual_print(const struct command *all, size_t count, const char *closing, FILE *out) {
  fputs(".TH CHATBOX 1 \"\" \"chatbox " CHATBOX_VERSION "\" \"User commands\"\n"
        ".SH NAME\nchatbox \\- chat server whose behaviour is written in Lua\n"
        ".SH SYNOPSIS\n.B chatbox\n.I COMMAND\n.RI [ option \" ...]\"\n"
        ".SH COMMANDS\n",
        out);
  for (size_t i = 0; i < count; i++) {
    fputs(".TP\n", out);
    line_roff(all[i].line, out);
    roff_line(all[i].help, out);
  }
  fputs(".SH SETTINGS AND EXIT STATUS\n", out);
  roff_line(closing, out);
  fputs(".SH FILES\n"
        ".TP\n.I /etc/chatbox/chatbox.conf\nThe settings of the service.\n"
        ".TP\n.I /etc/chatbox/scripts\nThe scripts of the service.\n"
        ".TP\n.I /var/lib/chatbox\nWhat the service keeps.\n"
        ".SH SEE ALSO\n.BR chatbox.conf (5)\n",
        out);
}

/* ---- completion ---- */

/* The next word of a usage line without its brackets and dots; NULL at its end. */
static const char *token_next(const char *line, char token[TOKEN_MAX]) {
  line += strspn(line, " []");
  size_t len = strcspn(line, " []"), kept = len < TOKEN_MAX ? len : TOKEN_MAX - 1;
  memcpy(token, line, kept);
  while (kept > 0 && token[kept - 1] == '.') {
    kept--;
  }
  token[kept] = '\0';
  return len > 0 ? line + len : NULL;
}

/* What a word in capitals stands for, as an option of compgen; NULL: only the user knows. */
static const char *action_of(const char *token) {
  return strcmp(token, "FILE") == 0 ? "-f" : strcmp(token, "DIR") == 0 ? "-d" : NULL;
}

static void words_print(const char *token, FILE *out) {
  for (; *token; token++) {
    putc(*token == '|' ? ' ' : *token, out);
  }
  putc(' ', out);
}

/* "run) words="--fresh --config"; actions="" ;;": what can come next, apart from the value of an option. */
static void command_completion(const struct command *c, FILE *out) {
  char token[TOKEN_MAX], actions[32] = "";
  bool value = false;
  fprintf(out, "  %s) words=\"", c->name);
  for (const char *p = token_next(c->line + strlen(c->name), token); p; p = token_next(p, token)) {
    if (strcmp(token, "|") == 0) {
      continue;
    }
    bool option = strncmp(token, "--", 2) == 0;
    if (option || (!value && !isupper((unsigned char)*token))) {
      words_print(token, out);
    } else if (!value && action_of(token)) {
      snprintf(actions, sizeof actions, "%s", action_of(token));
    }
    value = option;
  }
  fprintf(out, "--help\" actions=\"%s\" ;;\n", actions);
}

/* "--config) COMPREPLY…": options whose value is a file, and those whose value only the user knows. */
static void values_completion(const struct command *all, size_t count, FILE *out) {
  char token[TOKEN_MAX], option[TOKEN_MAX] = "", seen[2048] = " ", mark[TOKEN_MAX + 2];
  for (size_t i = 0; i < count; i++) {
    option[0] = '\0';
    for (const char *p = token_next(all[i].line, token); p; p = token_next(p, token)) {
      bool takes = *option && strncmp(token, "--", 2) != 0 && strcmp(token, "|") != 0;
      snprintf(mark, sizeof mark, " %s ", option);
      if (takes && !strstr(seen, mark) && strlen(seen) + strlen(mark) < sizeof seen) {
        strcat(seen, mark + 1);
        fprintf(out, "  %s) ", option);
        if (action_of(token)) {
          fprintf(out, "mapfile -t COMPREPLY < <(compgen %s -- \"$now\") ;", action_of(token));
        }
        fputs("return ;;\n", out);
      }
      snprintf(option, sizeof option, "%s", strncmp(token, "--", 2) == 0 ? token : "");
    }
  }
}

void completion_print(const struct command *all, size_t count, FILE *out) {
  fputs("# bash completion of chatbox(1), made by: chatbox docs completion\n"
        "_chatbox() {\n"
        "  local now=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\"\" actions=\"\"\n"
        "  COMPREPLY=()\n"
        "  if ((COMP_CWORD == 1)); then\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"--help --version",
        out);
  for (size_t i = 0; i < count; i++) {
    fprintf(out, " %s", all[i].name);
  }
  fputs("\" -- \"$now\")\n    return\n  fi\n  case $before in\n", out);
  values_completion(all, count, out);
  fputs("  esac\n  case ${COMP_WORDS[1]} in\n", out);
  for (size_t i = 0; i < count; i++) {
    command_completion(&all[i], out);
  }
  fputs(
    "  *) return ;;\n"
    "  esac\n"
    "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$now\"; [[ -z $actions ]] || compgen $actions -- \"$now\")\n"
    "}\n"
    "complete -o filenames -F _chatbox chatbox\n",
    out);
}
