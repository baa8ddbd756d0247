"""Which name of KerasTuner's is which object of keratune's: `module:attribute`, or a module."""

from __future__ import annotations


def _from(home: str, *names: str) -> dict[str, str]:
    return {name: f"{home}:{name}" for name in names}


# In place of a name: all names of a module that exists.
EVERYTHING = "*"
_FUNCTIONS = "keratune.compat.functions"
_KERAS_FUNCTIONS = "keratune.compat.keras_functions"
_ENGINE = {
    "base_tuner": _from("keratune.base_tuner", "BaseTuner"),
    "conditions": _from(
        "keratune.conditions",
        "ALL_CLASSES",
        "Condition",
        "OBJECTS",
        "Parent",
        "deserialize",
        "serialize",
    ),
    "hypermodel": _from(
        "keratune.training.base", "DefaultHyperModel", "HyperModel", "get_hypermodel"
    ),
    "hyperparameters": {
        **_from(
            "keratune.parameters",
            "ALL_CLASSES",
            "Boolean",
            "Choice",
            "Fixed",
            "Float",
            "HyperParameter",
            "Int",
            "OBJECTS",
        ),
        **_from("keratune.space", "HyperParameters"),
        **_from(_FUNCTIONS, "deserialize", "serialize"),
    },
    "metrics_tracking": {
        **_from("keratune.metrics", "MetricHistory", "MetricObservation", "MetricsTracker"),
        **_from("keratune.objectives", "infer_metric_direction"),
    },
    "multi_execution_tuner": {"MultiExecutionTuner": "keratune.tuner:Tuner"},
    "objective": _from(
        "keratune.objectives",
        "DefaultObjective",
        "MultiObjective",
        "Objective",
        "create_objective",
    ),
    "oracle": {
        **_from("keratune.oracle", "Oracle", "synchronized"),
        **_from("keratune.objectives", "Objective"),
        **_from("keratune.reporting.progress", "Display"),
    },
    "stateful": _from(_FUNCTIONS, "Stateful"),
    "trial": _from("keratune.trial", "Trial", "TrialStatus", "generate_trial_id"),
    "tuner": {
        **_from("keratune.tuner", "Tuner", "maybe_distribute"),
        **_from(_FUNCTIONS, "maybe_compute_model_size"),
    },
    "tuner_utils": {
        **_from("keratune.training.keras_callbacks", "SaveBestEpoch", "TunerCallback"),
        **_from(
            _FUNCTIONS,
            "average_metrics_dicts",
            "convert_hyperparams_to_hparams",
            "convert_to_metrics_dict",
            "get_best_step",
            "validate_trial_results",
        ),
    },
}
_HP_TYPES = {
    "boolean_hp": _from("keratune.parameters", "Boolean"),
    "choice_hp": _from("keratune.parameters", "Choice"),
    "fixed_hp": _from("keratune.parameters", "Fixed"),
    "float_hp": _from("keratune.parameters", "Float"),
    "int_hp": _from("keratune.parameters", "Int"),
    "numerical": _from("keratune.parameters", "Numerical"),
}
_ERRORS = _from(
    "keratune.errors",
    "FailedTrialError",
    "FatalError",
    "FatalRuntimeError",
    "FatalTypeError",
    "FatalValueError",
)

# Path below `keras_tuner` -> names. Parents stand before their children.
NAMES: dict[str, dict[str, str]] = {
    "": {
        **_from(
            "keratune",
            "BayesianOptimization",
            "GridSearch",
            "HyperModel",
            "HyperParameter",
            "HyperParameters",
            "Hyperband",
            "Objective",
            "Oracle",
            "RandomSearch",
            "SklearnTuner",
            "Tuner",
            "__version__",
            "synchronized",
        ),
    },
    "applications": _from(
        "keratune.applications",
        "HyperEfficientNet",
        "HyperImageAugment",
        "HyperResNet",
        "HyperXception",
    ),
    "applications.augment": _from(
        "keratune.applications.hyper_image_augment",
        "HyperImageAugment",
        "RandAugment",
        "TRANSFORMS",
    ),
    "applications.efficientnet": _from(
        "keratune.applications.hyper_efficientnet",
        "EFFICIENTNET_IMG_SIZE",
        "EFFICIENTNET_MODELS",
        "HyperEfficientNet",
    ),
    "applications.resnet": _from("keratune.applications.hyper_resnet", "HyperResNet"),
    "applications.xception": _from("keratune.applications.hyper_xception", "HyperXception"),
    "api_export": _from(_FUNCTIONS, "keras_tuner_export"),
    "backend": {},
    "backend.config": _from(_KERAS_FUNCTIONS, "backend", "multi_backend"),
    "backend.io": _from(
        "keratune.compat.files",
        "File",
        "exists",
        "glob",
        "makedirs",
        "remove_temp_dir_with_filepath",
        "remove_temp_dirpath",
        "rmtree",
        "tf",
        "write_dirpath",
        "write_filepath",
    ),
    "backend.keras": {EVERYTHING: "keras"},
    "backend.ops": {EVERYTHING: "keras.ops"},
    "backend.random": {EVERYTHING: "keras.random"},
    "config": _from(_FUNCTIONS, "DEBUG"),
    "distribute": {},
    "distribute.oracle_chief": _from(
        "keratune.execution.server", "OracleServicer", "exit_chief", "start_server"
    ),
    "distribute.oracle_client": _from("keratune.execution.client", "OracleClient", "TIMEOUT"),
    "distribute.utils": _from("keratune.execution.roles", "has_chief_oracle", "is_chief_oracle"),
    "engine": {},
    **{f"engine.{path}": names for path, names in _ENGINE.items()},
    "engine.hyperparameters.hp_types": {
        **_from(
            "keratune.parameters",
            "ALL_CLASSES",
            "Boolean",
            "Choice",
            "Fixed",
            "Float",
            "Int",
            "OBJECTS",
        ),
        **_from(_FUNCTIONS, "deserialize", "serialize"),
    },
    **{f"engine.hyperparameters.hp_types.{path}": names for path, names in _HP_TYPES.items()},
    "engine.hyperparameters.hp_utils": _from(_FUNCTIONS, "index_to_prob", "prob_to_index"),
    "engine.hyperparameters.hyperparameter": _from("keratune.parameters", "HyperParameter"),
    "engine.hyperparameters.hyperparameters": _from("keratune.space", "HyperParameters"),
    "errors": _ERRORS,
    "oracles": _from(
        "keratune.oracles",
        "BayesianOptimizationOracle",
        "GridSearchOracle",
        "HyperbandOracle",
        "RandomSearchOracle",
    ),
    "tuners": {
        **_from(
            "keratune.tuners", "BayesianOptimization", "GridSearch", "Hyperband", "RandomSearch"
        ),
        **_from("keratune.tuner", "Tuner"),
        **_from("keratune.sklearn_tuner", "SklearnTuner"),
    },
    "tuners.sklearn_tuner": {
        **_from("keratune.sklearn_tuner", "SklearnTuner"),
        **_from(_FUNCTIONS, "split_data"),
    },
    "tuners.bayesian": {
        **_from("keratune.tuners", "BayesianOptimization"),
        **_from("keratune.oracles", "BayesianOptimizationOracle"),
    },
    "tuners.hyperband": {
        **_from("keratune.tuners", "Hyperband"),
        **_from("keratune.oracles", "HyperbandOracle"),
    },
    "tuners.gridsearch": {
        **_from("keratune.tuners", "GridSearch"),
        **_from("keratune.oracles", "GridSearchOracle"),
    },
    "tuners.randomsearch": {
        **_from("keratune.tuners", "RandomSearch"),
        **_from("keratune.oracles", "RandomSearchOracle"),
    },
    "utils": {
        **_from(
            _FUNCTIONS,
            "IS_NOTEBOOK",
            "create_directory",
            "load_json",
            "save_json",
            "to_list",
            "try_clear",
        ),
        **_from(_KERAS_FUNCTIONS, "deserialize_keras_object", "serialize_keras_object"),
    },
    "version": _from("keratune", "__version__"),
}
MODULES = tuple(NAMES)
