"""What `runs.toml` and `short_runs.toml` name: how keras.io's own scripts are trained, and what a model is asked after.

    python -m vattn_utils sweep benchmarks/short_runs.toml --list

A function that `call` names trains as its page does, with what its arguments say, goes on after the last whole epoch
that `directory` keeps, and returns what a line of the results says of a run. One that `measure` names asks a trained
model more than its accuracy.
"""

import keras

from vattn_utils import training
from vattn_utils.audit import upstream
from vattn_utils.maps import attention, sanity
from vattn_utils.models.counting import parameters
from vattn_utils.training import records
from vattn_utils.training.loop import parts
from vattn_utils.training.run_folder import Checkpoints
from vattn_utils.training.train import with_policy


def by_script(dataset, seed, directory, epochs=10, batch_size=128, **mended):
    """Train keras.io's EANet as its page does, at 4-pixel patches."""
    keras.utils.set_random_seed(seed)
    train, (x_val, y_val) = dataset.split(0.2, seed)
    example = upstream.eanet.build(patch_size=4, data=(train, (dataset.x_test, dataset.y_test)), **mended)
    x, y = example.data
    validation = x_val, keras.utils.to_categorical(y_val, 100)
    history = _fit(example.model, directory, epochs, validation, x, y, batch_size=batch_size)
    done = {"model": "upstream.eanet", "precision": "float32", "seed": seed, "batch_size": batch_size}
    return _told(example.model, dataset, history, {**done, "epochs": epochs, "patch_size": 4, **mended})


def by_vit_script(dataset, seed, directory, normalization, epochs=5, batch_size=256):
    """Train keras.io's ViT as its page does, coarser and smaller."""
    keras.utils.set_random_seed(seed)
    (x, y), validation = dataset.split(0.1, seed)
    rules = {"Keras": keras.layers.LayerNormalization, "Keras 3.0.0": upstream.older.EarlyLayerNormalization}
    splits = ((x, y), (dataset.x_test, dataset.y_test))
    size = {"patch_size": 18, "head_units": (512, 256)}
    model = upstream.vit.build(**size, normalization=rules[normalization], data=splits).model
    history = _fit(model, directory, epochs, validation, x, y, batch_size=batch_size)
    done = {"model": "upstream.vit", "precision": "float32", "seed": seed, "batch_size": batch_size, "epochs": epochs}
    return _told(model, dataset, history, {**done, **size, "normalization": normalization})


def by_tail(dataset, seed, directory, optimizer, name="patch_convnet-cifar10-keras-io", epochs=5):
    """Train a recorded model on as it was trained, but through the end of PatchConvNet's page: its rate, its decay.

    That page has a warm-up and a cosine of 50 epochs, and a decay of 1e-4.
    """
    record = records.load(name)
    recipe = record.recipe
    model = with_policy("mixed_bfloat16", seed, record.model)
    (x, y), (x_val, y_val) = dataset.split(recipe.validation, recipe.seed)
    batches = training.Batches(x, y, dataset.num_classes, recipe)
    page, steps = 10 * epochs * len(batches), epochs * len(batches)
    whole = keras.optimizers.schedules.CosineDecay(0.0, 0.85 * page, warmup_target=1e-3, warmup_steps=0.15 * page)
    begin = float(whole(page - steps))
    schedule = keras.optimizers.schedules.PolynomialDecay(begin, steps, 0.0, power=2)  # a cosine's foot
    rules = {"keras": keras.optimizers.AdamW, "addons": upstream.older.DecoupledAdamW}
    model.compile(
        rules[optimizer](schedule, weight_decay=1e-4),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    validation = x_val, keras.utils.to_categorical(y_val, dataset.num_classes)
    again = training.Repeatable(batches, seed)
    history = _fit(model, directory, epochs, validation, batches, callbacks=[again], shuffle=False)
    done = {"model": name, "precision": "mixed_bfloat16", "seed": seed, "batch_size": recipe.batch_size}
    done |= {"augmentation": recipe.augmentation, "label_smoothing": recipe.label_smoothing, "epochs": epochs}
    return _told(
        model, dataset, history, {**done, "learning_rate": begin, "optimizer": optimizer, "weight_decay": 1e-4}
    )


def class_maps(model, images, labels):
    """What `measure` names: of a model with a query for each class, how alike its maps are; 512 held-out images."""
    (layer,) = attention.maps(model, images[:512])
    return {name: float(of.mean()) for name, of in sanity.class_likeness(layer.patches().mean(axis=1)).items()}


def _fit(model, directory, epochs, validation, *batches, callbacks=(), **options):
    history = training.History(report=True)
    model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(directory, parts(model, history))
    directory.claim({"weights": [weight.shape for weight in model.weights], "epochs": epochs})
    begun, callbacks = checkpoints.resume(), [history, *callbacks, checkpoints]
    options |= {"initial_epoch": begun, "epochs": epochs, "callbacks": callbacks, "validation_data": validation}
    model.fit(*batches, verbose=0, **options)
    return history.history


def _told(model, dataset, history, done):
    """What was `done`, and what came of it: on the test images too, labelled as the model's loss takes labels."""
    sparse = isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    labels = dataset.y_test if sparse else keras.utils.to_categorical(dataset.y_test, dataset.num_classes)
    test = model.evaluate(dataset.x_test, labels, batch_size=500, verbose=0, return_dict=True)
    return {"run": done, "parameters": parameters(model), "history": history, "test": test}
