import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "module" },
    rules: { "no-unused-vars": ["error", { argsIgnorePattern: "^_" }], eqeqeq: "error", "prefer-const": "error" },
  },
  { files: ["app/static/**/*.js", "app/viewer/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["app/viewer/*.mjs"], languageOptions: { globals: globals.node } },
  { files: ["tests/javascript/*.js"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
